"""The unfolded base computes what the ONNX file computes; training learns and leaves the process as it was; the export
equals the training network."""

from __future__ import annotations

import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tenshot.automl.bundle import Suppression
from tenshot.automl.detectors import DETECTORS, yolov8
from tenshot.automl.detectors.examples import Example, truth
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation.detection_metrics import detection_metrics
from tenshot.automl.evaluation.outcomes import DetectionOutcome
from tenshot.automl.predictor import RUNTIMES, prepare, suppress
from tenshot.projects.errors import TrainingError, WeightsError

LABELS = ("disc", "square")
SIZE = 128
TINY = Recipe(image_size=SIZE, epochs=2, batch=4, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)


def inputs(pictures: list[Example]) -> np.ndarray:
    return np.stack([prepare(p.pixels(), yolov8.input_spec(SIZE)) for p in pictures])


def new(weights: Path, pictures: list[Example], labels: tuple[str, ...] = LABELS) -> yolov8.Detector:
    torch.manual_seed(0)
    return yolov8.load_base(weights, labels, images=[p.pixels() for p in pictures], image_size=SIZE)


def test_every_row_of_the_table_loads() -> None:
    assert [DETECTORS.get(name).name for name in DETECTORS] == list(DETECTORS)


def test_the_unfolded_network_computes_what_the_file_computes(weights: Path, pictures: list[Example]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    batch = inputs(pictures)
    expected = session.run(None, {session.get_inputs()[0].name: batch})[0]
    found = yolov8.network(yolov8.base_network(weights))(batch)
    assert np.abs(found[:, 4:] - expected[:, 4:]).max() < 4e-4
    assert np.abs(found[:, :4] - expected[:, :4]).max() < 0.05  # pixels


def test_batch_norms_get_real_statistics_and_the_function_stays(weights: Path, pictures: list[Example]) -> None:
    batch = inputs(pictures)
    plain = yolov8.base_network(weights, image_size=SIZE)
    informed = yolov8.base_network(weights, [p.pixels() for p in pictures], image_size=SIZE)
    before, after = yolov8.network(plain)(batch), yolov8.network(informed)(batch)
    assert np.abs(before[:, 4:] - after[:, 4:]).max() < 4e-4
    assert np.abs(before[:, :4] - after[:, :4]).max() < 0.05
    norms = [m for m in informed.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 57
    assert not any(torch.equal(n.running_mean, torch.zeros_like(n.running_mean)) for n in norms)


@pytest.mark.parametrize("classes", [pytest.param(1, id="one"), pytest.param(18, id="as-many-as-the-base")])
def test_only_the_last_class_convolution_is_new(weights: Path, pictures: list[Example], classes: int) -> None:
    labels = tuple(str(i) for i in range(classes))
    made = new(weights, pictures, labels).model.state_dict()
    base = yolov8.base_network(weights, [p.pixels() for p in pictures], image_size=SIZE).model.state_dict()
    changed = {k for k in made if made[k].shape != base[k].shape or not torch.equal(made[k], base[k])}
    assert changed == {f"model.22.cv3.{level}.2.{part}" for level in range(3) for part in ("weight", "bias")}


def test_more_labels_than_the_class_branch_is_wide(weights: Path, pictures: list[Example]) -> None:
    detector = new(weights, pictures, tuple(str(i) for i in range(70)))
    assert yolov8.network(detector)(inputs(pictures[:1])).shape == (1, 74, 336)


@pytest.mark.parametrize(
    ("content", "match"),
    [pytest.param(b"not a network", "cannot be read", id="junk"), pytest.param(None, "no tensor", id="other-network")],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | None, match: str) -> None:
    path = tmp_path / "weights.onnx"
    if content is None:
        import onnx

        graph = onnx.helper.make_graph([], "empty", [], [])
        onnx.save(onnx.helper.make_model(graph), path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=match):
        yolov8.base_network(path)


@pytest.mark.parametrize("hw", [pytest.param((128, 128), id="square"), pytest.param((96, 160), id="wide")])
def test_the_export_equals_the_network(
    weights: Path, pictures: list[Example], tmp_path: Path, hw: tuple[int, int]
) -> None:
    detector = new(weights, pictures)
    yolov8.export(detector, tmp_path, hw)
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "model.xml", "model.bin"}
    batch = np.random.default_rng(0).random((3, 3, *hw), dtype=np.float32)
    expected = yolov8.network(detector)(batch)
    for runtime in RUNTIMES.values():
        network = runtime(tmp_path, 1)
        for count in (1, 3):
            found = network(batch[:count])
            assert found.shape == (count, 4 + len(LABELS), sum(hw[0] * hw[1] // s**2 for s in (8, 16, 32)))
            assert np.abs(found[:, 4:] - expected[:count, 4:]).max() < 1e-3
            assert np.abs(found[:, :4] - expected[:count, :4]).max() < 0.05


def global_state() -> dict[str, Any]:
    return {
        "threads": (torch.get_num_threads(), cv2.getNumThreads()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()),
        "printing": str(np.get_printoptions()),
        "level": logging.getLogger("ultralytics").level,
        "hash seed": os.environ.get("PYTHONHASHSEED"),
        "files": sorted(p.name for p in Path.cwd().iterdir()),
    }


@pytest.mark.slow
def test_training_leaves_the_process_as_it_was(
    weights: Path, pictures: list[Example], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    detector = new(weights, pictures)
    kept = {k: v.clone() for k, v in detector.model.state_dict().items()}
    before = global_state()
    seen: list[tuple[int, int]] = []
    yolov8.train(detector, pictures, TINY, seed=0, threads=1, on_epoch=lambda e, n, _: seen.append((e, n)))
    assert global_state() == before
    assert seen == [(1, 2), (2, 2)]
    assert all(torch.equal(v, kept[k]) for k, v in detector.model.state_dict().items())


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network(weights: Path, pictures: list[Example]) -> None:
    detector = new(weights, pictures)
    outputs = [
        yolov8.network(yolov8.train(detector, pictures, TINY, seed=seed, threads=1))(inputs(pictures))
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


class Stopped(Exception):
    pass


def raise_stopped(*_: object) -> None:
    raise Stopped


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["on_epoch", "check"])
def test_a_callback_may_stop_the_training(weights: Path, pictures: list[Example], hook: str) -> None:
    before = torch.get_num_threads()
    with pytest.raises(Stopped):
        yolov8.train(new(weights, pictures), pictures, TINY, seed=0, **{hook: raise_stopped})
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_deadline_ends_the_training_with_its_epoch(weights: Path, pictures: list[Example]) -> None:
    seen: list[int] = []
    recipe = TINY.with_(epochs=50)
    yolov8.train(new(weights, pictures), pictures, recipe, seed=0, deadline=0.0, on_epoch=lambda e, *_: seen.append(e))
    assert seen == [1]


def test_nothing_to_learn_from_is_refused(weights: Path, pictures: list[Example]) -> None:
    with pytest.raises(TrainingError, match="no images"):
        yolov8.train(new(weights, pictures), [], TINY, seed=0)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_an_error(weights: Path, pictures: list[Example]) -> None:
    detector = new(weights, pictures)
    with torch.no_grad():
        detector.model.model[-1].cv3[0][2].bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="finite"):
        yolov8.train(detector, pictures, TINY, seed=0)


@pytest.mark.slow
def test_training_finds_squares_and_discs(weights: Path, pictures: list[Example]) -> None:
    """Negatives are kept: one image has no boxes."""
    negative = Example("0" * 64, lambda: np.full((96, 128, 3), 110, np.uint8))
    recipe = Recipe(image_size=SIZE, epochs=50, batch=2, lr=0.001, rotate90=0.5, mosaic=0.2)
    detector = yolov8.train(new(weights, pictures), [*pictures[:6], negative], recipe, seed=0)
    unseen = pictures[6:]
    outputs = yolov8.network(detector)(inputs(unseen))
    spec = yolov8.input_spec(SIZE)
    found = tuple(suppress(o, p.pixels().shape[:2], spec, Suppression()) for o, p in zip(outputs, unseen, strict=True))
    truths = tuple(truth(p, LABELS) for p in unseen)
    outcome = DetectionOutcome(LABELS, tuple(p.image for p in unseen), truths, found)
    assert detection_metrics(outcome)["map50"] > 0.8


def test_a_saved_detector_answers_the_same(weights: Path, pictures: list[Example], tmp_path: Path) -> None:
    detector = new(weights, pictures)
    yolov8.save(detector, tmp_path / "detector.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["detector.pt"]
    loaded = yolov8.load(tmp_path / "detector.pt")
    assert (loaded.labels, loaded.image_size) == (detector.labels, detector.image_size)
    batch = inputs(pictures[:2])
    assert np.array_equal(yolov8.network(loaded)(batch), yolov8.network(detector)(batch))


@pytest.mark.parametrize("content", [pytest.param(b"junk", id="junk"), pytest.param(b"", id="empty")])
def test_a_damaged_detector_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "detector.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="no trained detector"):
        yolov8.load(tmp_path / "detector.pt")


def moved(trained: yolov8.Detector, base: yolov8.Detector, block: int) -> bool:
    name = f"model.{block}.conv.weight"
    return not torch.equal(trained.model.state_dict()[name], base.model.state_dict()[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen_share", "thaws"), [pytest.param(1.0, False, id="stays"), pytest.param(0.5, True, id="thaws-halfway")]
)
def test_frozen_blocks_learn_once_they_are_thawed(
    weights: Path, pictures: list[Example], frozen_share: float, thaws: bool
) -> None:
    base = new(weights, pictures)
    recipe = TINY.with_(epochs=4, freeze=10, frozen_share=frozen_share)
    trained = yolov8.train(base, pictures[:4], recipe, seed=0, threads=1)
    assert moved(trained, base, 16)  # in the neck
    assert moved(trained, base, 0) == thaws


@pytest.mark.slow
def test_pasting_trains(weights: Path, pictures: list[Example]) -> None:
    recipe = TINY.with_(paste=1.0, mosaic=0.5, close_mosaic=1)
    losses: list[dict[str, float]] = []
    yolov8.train(new(weights, pictures), pictures, recipe, seed=0, on_epoch=lambda *a: losses.append(a[2]))
    assert len(losses) == 2


@pytest.mark.slow
def test_a_schedule_is_shortened_to_its_deadline(weights: Path, pictures: list[Example]) -> None:
    """Far too many epochs for the time: they become fewer while it trains, and it ends as a whole training would."""
    seen: list[tuple[int, int]] = []
    recipe = TINY.with_(epochs=3000, freeze=10, frozen_share=0.5)
    base, deadline = new(weights, pictures), time.monotonic() + 12.0
    trained = yolov8.train(
        base, pictures[:4], recipe, seed=0, threads=1, deadline=deadline, on_epoch=lambda e, n, _: seen.append((e, n))
    )
    assert seen[0] == (1, 3000)
    assert seen[-1][1] - seen[-1][0] <= max(2, len(seen) // 3)
    assert moved(trained, base, 0)  # it thawed on the way
