"""predict.py, as an export carries it, answers as the version's Predictor does; where Tenshot cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fixtures_exports import BUNDLES

from tenshot.automl.bundle import read_manifest
from tenshot.automl.predictor import Predictor
from tenshot.datasets.images import decode
from tenshot.serving.exporting import carrying, parity
from tenshot.serving.exporting.pictures import _generated

# Seven small networks are compiled for each runtime: a second or two of CPU, on a busy machine much more time.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
# -S: no .pth file is read, so an editable install of Tenshot is not seen; -I: no working directory, no PYTHONPATH.
DRIVER = """
import importlib.util, json, runpy, sys

sys.path.append(sys.argv[1])
try:
    import tenshot
except ModuleNotFoundError:
    alone = True
else:
    alone = False
answers = {}
for folder in json.loads(sys.argv[2]):
    told = runpy.run_path(folder + "/predict.py")
    model = told["Predictor"].load(folder)
    answers[folder] = [
        [model.predict(open(path, "rb").read(), min_confidence=least) for path in json.loads(sys.argv[3])]
        for least in (None, 0.0)
    ]
    for data in (b"", b"GIF89a", open(json.loads(sys.argv[3])[0], "rb").read()[:2000]):
        try:
            model.predict(data)
        except told["ImageError"]:
            continue
        raise SystemExit(f"{data[:10]!r} was taken for an image")
print(json.dumps({"alone": alone, "path": sys.path, "modules": sorted(sys.modules), "answers": answers}))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return list(_generated(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    home = tmp_path_factory.mktemp("bundles")
    for name, make in BUNDLES.items():
        make(home / name)
    return home


@pytest.fixture(scope="module")
def told(bundles, images, tmp_path_factory):
    """Runtime → what a process without Tenshot said."""
    found = {}
    for runtime in carrying.NETWORKS:
        home = tmp_path_factory.mktemp(runtime)
        for name in BUNDLES:
            carrying.carry(bundles / name, read_manifest(bundles / name), home / name, runtime)
        folders = json.dumps([str(home / name) for name in BUNDLES])
        words = [sys.executable, "-I", "-S", "-c", DRIVER, sysconfig.get_path("purelib"), folders]
        done = subprocess.run(
            [*words, json.dumps([str(path) for path in images])], cwd=home, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found[runtime] = home, json.loads(done.stdout)
    return found


@pytest.mark.parametrize("runtime", list(carrying.NETWORKS))
def test_the_process_had_no_tenshot(told, runtime):
    said = told[runtime][1]
    assert said["alone"]
    assert str(ROOT) not in said["path"]
    assert [name for name in said["modules"] if name.partition(".")[0] in ("tenshot", "torch")] == []


@pytest.mark.parametrize("runtime", list(carrying.NETWORKS))
@pytest.mark.parametrize("name", list(BUNDLES))
def test_it_answers_as_the_predictor(told, bundles, images, runtime, name):
    home, said = told[runtime]
    predictor = Predictor.load(bundles / name)
    expected = tuple(
        [
            predictor.answer(predictor.look([image])[0], image.shape[:2], min_confidence=least)
            for image in (decode(path.read_bytes(), name=path.name, max_megapixels=100) for path in images)
        ]
        for least in (None, 0.0)
    )
    found = parity.compare(
        [path.name for path in images],
        predictor.manifest.thresholds,
        expected,
        tuple(said["answers"][str(home / name)]),
    )
    assert found.labels >= len(images)
    assert (found.unmatched, found.box) == (0, 0.0)
    assert found.confidence < (1e-3 if runtime == "onnxruntime" else 1e-9)


def test_the_bundles_differ_in_what_they_answer(told):
    """Else the comparison above would say little."""
    _, said = told["openvino"]
    answers = {json.dumps(found) for found in said["answers"].values()}
    assert len(answers) == len(BUNDLES)
    again = next(found for folder, found in said["answers"].items() if folder.endswith("second-look"))
    once = next(found for folder, found in said["answers"].items() if folder.endswith("/detector"))
    assert again[1] != once[1]


def test_a_damaged_file_is_noticed(bundles, tmp_path):
    name = "classifier"
    carrying.carry(bundles / name, read_manifest(bundles / name), tmp_path / "out", "openvino")
    weights = tmp_path / "out" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (tmp_path / "photo.bmp").write_bytes(b"BM")
    words = [sys.executable, tmp_path / "out" / "predict.py", tmp_path / "photo.bmp"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "model.bin is not the file that was exported" in done.stderr
