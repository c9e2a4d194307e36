"""Import: what is taken, what is refused and why, and what is left when it is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenshot.datasets import snapshots
from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.images import ImageStore
from tenshot.datasets.ingest import import_dataset
from tenshot.datasets.labeled import LabeledImage, read_labeled
from tenshot.datasets.merge import Candidate, merge
from tenshot.projects.errors import (
    DataError,
    DatasetNotFound,
    EmptyDataError,
    FormatError,
    ImageError,
    ProjectNotFound,
    RecordError,
    UnknownNameError,
)
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace


@pytest.fixture
def space(tmp_path) -> Workspace:
    return Workspace(tmp_path / "home")


def project(space: Workspace, task: str = "classification") -> str:
    space.store.create_project("p", Task(task), at=0.0)
    return "p"


def photo(path: Path, seed: int, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def classes(root: Path, **labels: int) -> Path:
    """`root/<label>/<n>.jpg`, all different."""
    seed = 0
    for label, count in labels.items():
        for n in range(count):
            photo(root / label / f"{label}{n}.jpg", seed)
            seed += 1
    return root


def entries(space: Workspace, number: int | None = None) -> list[Entry]:
    return list(snapshots.entries(space, space.store.dataset_version("p", number)))


def test_folders(space, tmp_path):
    seen = []
    report = import_dataset(space, project(space), classes(tmp_path / "in", cat=3, dog=2), progress=seen.append)
    assert (report.version, report.created, report.imported, report.refused) == (1, True, 5, [])
    assert (report.labels, report.train, report.test) == (["cat", "dog"], 5, 0)
    assert [values["done"] for values in seen] == [1, 2, 3, 4, 5]
    assert "all of it went to train" in report.notices[0]
    assert sorted((e.name, e.labels) for e in entries(space))[0] == ("cat0.jpg", ("cat",))
    version = space.store.dataset_version("p")
    assert version.stats == {
        "train": {"images": 5, "labels": {"cat": 3, "dog": 2}},
        "test": {"images": 0, "labels": {}},
        "refused": 0,
    }
    store = ImageStore.of(space)
    for entry in entries(space):
        assert store.load(entry.image).shape == (entry.height_px, entry.width_px, 3)


def test_importing_again_changes_nothing(space, tmp_path):
    import_dataset(space, project(space), classes(tmp_path / "in", cat=2, dog=2))
    report = import_dataset(space, "p", tmp_path / "in")
    assert (report.version, report.created, report.imported, report.duplicates) == (1, False, 0, 4)
    assert [v.number for v in space.store.dataset_versions("p")] == [1]


def test_versions_are_immutable_and_grow(space, tmp_path):
    import_dataset(space, project(space), classes(tmp_path / "in", cat=2))
    before = entries(space)
    photo(tmp_path / "in" / "dog" / "new.png", 99)
    report = import_dataset(space, "p", tmp_path / "in")
    assert (report.version, report.imported, report.duplicates) == (2, 1, 2)
    assert entries(space, 1) == before
    assert len(entries(space, 2)) == 3
    assert space.store.dataset_version("p").parent == 1


def test_moving_a_file_to_another_class_corrects_its_label(space, tmp_path):
    import_dataset(space, project(space), classes(tmp_path / "in", cat=2, dog=1))
    (tmp_path / "in" / "cat" / "cat0.jpg").rename(tmp_path / "in" / "dog" / "cat0.jpg")
    report = import_dataset(space, "p", tmp_path / "in")
    assert (report.version, report.imported, report.duplicates, report.refused) == (2, 1, 2, [])
    assert {e.name: e.labels for e in entries(space)}["cat0.jpg"] == ("dog",)


def test_splits_of_the_data_and_override(space, tmp_path):
    root = tmp_path / "in"
    classes(root / "train", cat=2, dog=2)
    photo(root / "val" / "cat" / "v.jpg", 77)
    report = import_dataset(space, project(space), root)
    assert (report.train, report.test, report.notices) == (4, 1, [])
    photo(tmp_path / "more" / "cat" / "w.jpg", 78)
    report = import_dataset(space, "p", tmp_path / "more", split="test")
    assert (report.train, report.test) == (4, 2)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def truncated() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(5).integers(0, 255, (60, 60, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()[:-700]


def bomb() -> bytes:
    out = io.BytesIO()
    Image.new("1", (11_000, 10_000)).save(out, "PNG")
    return out.getvalue()


def gif() -> bytes:
    out = io.BytesIO()
    Image.new("P", (9, 9)).save(out, "GIF")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        pytest.param("cut.jpg", truncated(), "is a truncated JPEG file", id="truncated"),
        pytest.param("text.jpg", b"not an image at all", "is not an image", id="text"),
        pytest.param("notes.txt", b"remember the milk", "is not an image", id="other-file"),
        pytest.param("empty.png", b"", "the file is empty", id="empty"),
        pytest.param("anim.gif", gif(), "is a GIF file", id="gif"),
        pytest.param("bomb.png", bomb(), "110.0 megapixels, more than the 100 allowed", id="bomb"),
    ],
)
def test_bad_image_is_refused_and_the_rest_imported(name, data, message, space, tmp_path):
    classes(tmp_path / "in", cat=2, dog=2)
    bad = write(tmp_path / "in" / "cat" / name, data)
    report = import_dataset(space, project(space), tmp_path / "in")
    assert report.imported == 4
    (refusal,) = report.refused
    assert (refusal.file, refusal.line, refusal.code) == (str(bad), None, "ImageError")
    assert message in refusal.message
    assert space.store.dataset_version("p").stats["refused"] == 1


def test_bad_image_in_a_table_names_its_line(space, tmp_path):
    photo(tmp_path / "a.png", 1)
    write(tmp_path / "b.png", truncated())
    table = write(tmp_path / "x.csv", b"image,label\na.png,cat\nb.png,cat\nc.png,cat\n")
    report = import_dataset(space, project(space), table)
    assert [(r.file, r.line, r.code) for r in report.refused] == [
        (str(table), 3, "ImageError"),
        (str(table), 4, "RecordError"),
    ]


def test_bad_boxes(space, tmp_path):
    for n in range(5):
        photo(tmp_path / f"{n}.png", n)
    rows = [
        "image,label,left,top,width,height",
        "0.png,a,30,20,100,100",  # 2: over the edge, clipped
        "1.png,a,2,2,5,5",
        "1.png,a,400,2,5,5",  # 4: outside, refused alone
        "2.png,a,400,2,5,5",  # 5: outside and the only one
        "3.png,a,2,2,0,5",  # 6: no area
        "4.png,a,2,2,nan,5",  # 7
    ]
    table = write(tmp_path / "x.csv", "\n".join(rows).encode())
    report = import_dataset(space, project(space, "detection"), table)
    assert (report.imported, report.clipped_boxes) == (2, 1)
    assert sorted(r.line for r in report.refused) == [4, 5, 6, 7]
    boxes = {e.name: e.boxes for e in entries(space)}
    assert boxes["0.png"][0].xyxy == pytest.approx((0.75, 2 / 3, 1, 1))
    assert len(boxes["1.png"]) == 1


@pytest.mark.parametrize("declared", [pytest.param((40, 30), id="unrotated"), pytest.param((30, 40), id="upright")])
def test_boxes_follow_the_exif_rotation(declared, space, tmp_path):
    """A dark square in a photo that is stored lying: its box covers it after import, whoever counted the pixels."""
    pixels = np.full((30, 40, 3), 230, np.uint8)
    pixels[3:9, 20:32] = 10
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif.tobytes())
    # Upright is the stored image turned a quarter clockwise: x' = 30 - y, y' = x.
    edges = (20, 3, 32, 9) if declared == (40, 30) else (21, 20, 27, 32)
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": declared[0], "height": declared[1]}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [*edges[:2], edges[2] - edges[0], edges[3] - edges[1]]}
        ],
    }
    write(tmp_path / "x.json", json.dumps(document).encode())
    import_dataset(space, project(space, "detection"), tmp_path / "x.json")
    (entry,) = entries(space)
    upright = ImageStore.of(space).load(entry.image)
    assert upright.shape == (40, 30, 3)
    left, top, right, bottom = (round(e * s) for e, s in zip(entry.boxes[0].xyxy, (30, 40, 30, 40), strict=True))
    assert (upright[top:bottom, left:right] == 10).all()
    assert (upright == 10).all(axis=2).sum() == (right - left) * (bottom - top)


def test_leak_in_one_import_and_over_two(space, tmp_path):
    photo(tmp_path / "in" / "train" / "cat" / "a.png", 1)
    photo(tmp_path / "in" / "train" / "dog" / "b.png", 2)
    photo(tmp_path / "in" / "test" / "cat" / "copy.png", 1)
    report = import_dataset(space, project(space), tmp_path / "in")
    assert (report.imported, report.train, report.test) == (2, 2, 0)
    assert report.refused[0].file == str(tmp_path / "in" / "test" / "cat" / "copy.png")
    assert "already in the train split (as a.png); in both it would leak" in report.refused[0].message
    photo(tmp_path / "again" / "dog" / "b.png", 2)
    with pytest.raises(EmptyDataError) as caught:
        import_dataset(space, "p", tmp_path / "again", split="test")
    assert "would leak" in caught.value.hint


def test_empty_and_wrong_sets(space, tmp_path):
    project(space)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FormatError, match="no known format"):
        import_dataset(space, "p", tmp_path / "nothing")
    write(tmp_path / "only-header.csv", b"image,label\n")
    with pytest.raises(EmptyDataError, match="holds no images"):
        import_dataset(space, "p", tmp_path / "only-header.csv")
    write(tmp_path / "bad" / "cat" / "x.jpg", b"no")
    with pytest.raises(EmptyDataError, match="all 1 records were refused"):
        import_dataset(space, "p", tmp_path / "bad")
    with pytest.raises(DatasetNotFound):
        space.store.dataset_version("p")
    with pytest.raises(UnknownNameError):
        import_dataset(space, "p", tmp_path / "bad", format="foldres")
    with pytest.raises(ProjectNotFound):
        import_dataset(space, "q", tmp_path / "bad")


# merge, as a pure function ----------------------------------------------------------------------------------------


def entry(image: str, label: str, split="train", name="a.jpg", labeled=True) -> Entry:
    return Entry(image, name, 10, 10, split, (label,) if label else (), (), labeled)


A, B = entry("1", "cat"), entry("2", "dog")


@pytest.mark.parametrize(
    ("base", "new", "imported", "duplicates", "message"),
    [
        pytest.param([], [A, B], {"1", "2"}, 0, None, id="new"),
        pytest.param([A], [A], set(), 1, None, id="known"),
        pytest.param([A], [entry("1", "cat", name="other.jpg")], set(), 1, None, id="known-by-another-name"),
        pytest.param([A], [entry("1", "dog")], {"1"}, 0, None, id="corrected-by-name"),
        pytest.param([A], [entry("1", "dog", name="cats/a.jpg")], {"1"}, 0, None, id="corrected-in-another-folder"),
        pytest.param(
            [A], [entry("1", "dog", name="b.jpg")], set(), 0, "holds the same image as a.jpg", id="contradicts"
        ),
        pytest.param([], [A, entry("1", "dog")], {"1"}, 0, "other labels in f:1", id="contradicts-itself"),
        pytest.param([], [A, A], {"1"}, 1, None, id="twice"),
        pytest.param([A], [entry("1", "cat", "test")], set(), 0, "already in the train split", id="leak"),
        pytest.param([entry("1", "", labeled=False)], [A], {"1"}, 0, None, id="labeled-at-last"),
        pytest.param([A], [entry("1", "", labeled=False)], set(), 1, None, id="labels-are-not-lost"),
        pytest.param([A], [entry("3", "cow", "test")], set(), 0, "no training image has the label 'cow'", id="unknown"),
        pytest.param([], [entry("3", "cow", "test"), entry("4", "cow")], {"3", "4"}, 0, None, id="known-later"),
        pytest.param([], [entry("3", "cow", "test")], {"3"}, 0, None, id="test-set-first"),
        pytest.param(
            [A, entry("3", "cat", "test")],
            [entry("3", "cow", "test")],
            set(),
            0,
            "label 'cow'",
            id="unknown-correction",
        ),
    ],
)
def test_merge(base, new, imported, duplicates, message):
    merged = merge(base, [Candidate(e, "f", n) for n, e in enumerate(new, 1)])
    assert set(merged.imported) == imported
    assert merged.duplicates == duplicates
    assert set(merged.entries) == {e.image for e in base} | imported
    assert [message in error.message for error in merged.refused] == ([True] if message else [])
    for image in imported:
        assert merged.entries[image] in new
    for old in base:
        assert merged.entries[old.image] == old or old.image in imported


def test_unknown_test_label_names_the_near_ones():
    (error,) = merge([A], [Candidate(entry("3", "cats", "test"), "x.csv", 8)]).refused
    assert (error.file, error.line, error.hint) == ("x.csv", 8, "did you mean cat?")


# several at once, and killed --------------------------------------------------------------------------------------


def test_two_imports_at_once_lose_nothing(space, tmp_path):
    project(space)
    roots = [classes(tmp_path / str(n), **{f"label{n}": 6}) for n in range(4)]
    for n, root in enumerate(roots):  # different pictures in each
        for file in root.rglob("*.jpg"):
            photo(file.with_suffix(".png"), zlib.crc32(f"{n} {file.name}".encode()))
            file.unlink()
    gate = threading.Barrier(4)

    def run(root):
        gate.wait()
        return import_dataset(Workspace(space.home), "p", root)

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(run, roots))
    assert sorted(r.version for r in reports) == [1, 2, 3, 4]
    assert len(entries(space)) == 24


def test_a_killed_import_leaves_no_half_version_and_can_be_repeated(space, tmp_path):
    project(space)
    root = classes(tmp_path / "in", cat=150, dog=150)
    script = (
        "import sys, pathlib; from tenshot.projects.workspace import Workspace;"
        "from tenshot.datasets.ingest import import_dataset;"
        "import_dataset(Workspace(pathlib.Path(sys.argv[1])), 'p', pathlib.Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen([sys.executable, "-c", script, str(space.home), str(root)], env=environment)
    try:
        wait_until(lambda: process.poll() is not None or len(list(space.images.rglob("*.jpg"))) >= 20)
        assert process.poll() is None, "the import ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(DatasetNotFound):
        space.store.dataset_version("p")
    store = ImageStore.of(space)
    left = [path for path in space.images.rglob("*.jpg") if not path.name.startswith(".")]
    for path in left:
        store.verify(path.stem)  # what is there is whole
    report = import_dataset(space, "p", root)
    assert (report.version, report.imported, report.refused) == (1, 300, [])


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.005)


# snapshots and labeled --------------------------------------------------------------------------------------------


def test_snapshot_does_not_depend_on_the_order(space):
    box = Entry("3", "c.jpg", 10, 10, "test", (), (Box("ü", 0.1, 0.2, 0.3, 1 / 3),))
    first, stats = snapshots.write(space, [A, B, box])
    again, _ = snapshots.write(space, iter([box, B, A]))
    assert first == again
    assert stats["test"] == {"images": 1, "labels": {"ü": 1}}
    assert len(list(space.snapshots.iterdir())) == 1
    project(space)
    version = space.store.add_dataset_version("p", snapshot_sha256=first, parent=None, source="", stats=stats, at=0)
    assert list(snapshots.entries(space, version)) == [A, B, box]
    assert snapshots.labels(space, version) == ["cat", "dog", "ü"]
    assert snapshots.labels(space, version, split="train") == ["cat", "dog"]


def test_read_labeled(tmp_path):
    photo(tmp_path / "a.png", 1)
    write(tmp_path / "b.png", b"no image")
    write(tmp_path / "x.csv", b"image,label\na.png,cat\nb.png,cat\nc.png,cat\na2.png,cat,nowhere\n")
    found = list(read_labeled(tmp_path / "x.csv", Task.CLASSIFICATION))
    assert {type(item) for item in found} == {LabeledImage, ImageError, RecordError}
    (image,) = [item for item in found if not isinstance(item, DataError)]
    assert (image.name, image.labels, image.width_px, image.height_px) == ("a.png", ("cat",), 40, 30)
    assert image.pixels().shape == (30, 40, 3)
    strict = list(read_labeled(tmp_path / "x.csv", Task.CLASSIFICATION, labels=["cats", "dog"]))
    assert not [item for item in strict if isinstance(item, LabeledImage)]
    (unknown,) = [item for item in strict if "is not one of" in str(item)]
    assert (unknown.line, unknown.hint) == (2, "did you mean cats?")
    with pytest.raises(FormatError):
        list(read_labeled(tmp_path / "absent", Task.CLASSIFICATION))
