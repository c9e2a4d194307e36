"""What datasets/formats/base.py promises, for every row of FORMATS and every task that the format can hold."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.formats import FORMATS
from tenshot.datasets.formats.base import RawRecord
from tenshot.datasets.identify import choose, identify
from tenshot.datasets.images import ImageStore, read_header
from tenshot.datasets.judge import judge
from tenshot.projects.errors import FormatError, RecordError, UnknownNameError
from tenshot.projects.status import Task

WHOLE_PIXELS = {"voc", "manifest"}
CASES = [pytest.param(name, task, id=f"{name}-{task}") for name in FORMATS for task in sorted(FORMATS.get(name).tasks)]

# Labels that a careless writer or parser would break.
LABELS = ("scratch", "Kratzer groß, 2 mm", 'say "ok"', "#1")
BOXES = {
    0: (Box("scratch", 0.25, 0.125, 0.5, 0.5), Box("#1", 0.0, 0.0, 1.0, 1.0)),
    1: (Box('say "ok"', 1 / 3, 1 / 7, 1 / 3, 1 / 2),),
    2: (),  # a true negative
    3: (Box("Kratzer groß, 2 mm", 0.9, 0.8, 0.1, 0.2), Box("scratch", 0.1, 0.1, 0.123456, 0.2)),
    4: (Box("#1", 0.2, 0.3, 0.4, 0.5),),
}


def encoded(seed: int, width: int, height: int, kind: str) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def annotations(index: int, task: Task) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    if task is Task.DETECTION:
        return (), BOXES[index]
    if task is Task.MULTILABEL:
        return LABELS[: index % 4] if index != 4 else (), ()
    return (LABELS[index % 4],), ()


@pytest.fixture
def store(tmp_path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def entries(store: ImageStore, task: Task) -> list[Entry]:
    made = []
    for index in range(5):
        kind = "PNG" if index == 1 else "JPEG"
        added = store.add(encoded(index, 64 + 16 * index, 48 + 20 * index, kind), "x")
        name = f"photo {index}.{'png' if kind == 'PNG' else 'jpg'}"
        labels, boxes = annotations(index, task)
        split = "test" if index >= 3 else "train"
        made.append(Entry(added.sha256, name, added.width_px, added.height_px, split, labels, boxes))
    return made


def read_entry(record: RawRecord, store: ImageStore, task: Task) -> Entry:
    data = record.source.read_bytes()
    judged = judge(record, read_header(data, name=record.name, max_megapixels=1), task)
    assert judged.refused == []
    added = store.add(data, record.name)
    wh = added.width_px, added.height_px
    return Entry(added.sha256, record.name, *wh, record.split, judged.labels, judged.boxes, judged.labeled)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_is_written_is_read_again(name, task, store, tmp_path):
    expected = {entry.image: entry for entry in entries(store, task)}
    FORMATS.get(name).write(tmp_path / "out", expected.values(), store)
    records = list(FORMATS.get(name).read(tmp_path / "out", None))
    assert [record for record in records if isinstance(record, RecordError)] == []
    found = {entry.image: entry for entry in (read_entry(record, store, task) for record in records)}
    if name == "manifest" and task is Task.MULTILABEL:
        # A manifest has no line for "looked at, none of the labels"; an empty list of boxes says it.
        assert all(entry.labeled for entry in found.values())
    assert found.keys() == expected.keys()
    for image, entry in expected.items():
        assert_same(found[image], entry, name)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_a_single_split_stays_what_it_is(name, split, store, tmp_path):
    task = Task.DETECTION if Task.DETECTION in FORMATS.get(name).tasks else Task.CLASSIFICATION
    written = [entry.in_split(split) for entry in entries(store, task)]
    FORMATS.get(name).write(tmp_path / "out", written, store)
    assert identify(tmp_path / "out").name == name
    assert [record.split for record in FORMATS.get(name).read(tmp_path / "out", None)] == [split] * len(written)


def assert_same(found: Entry, expected: Entry, name: str) -> None:
    assert (found.name, found.split, found.labeled) == (expected.name, expected.split, expected.labeled)
    assert set(found.labels) == set(expected.labels)
    assert [box.label for box in found.boxes] == [box.label for box in expected.boxes]
    scale = (expected.width_px, expected.height_px) * 2
    for one, other in zip(found.boxes, expected.boxes, strict=True):
        for a, b, pixels in zip(one.xyxy, other.xyxy, scale, strict=True):
            assert abs(a - b) <= (0.51 / pixels if name in WHOLE_PIXELS else 1e-6)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_detected_as_itself_and_nothing_else(name, task, store, tmp_path):
    FORMATS.get(name).write(tmp_path / "out", entries(store, task), store)
    assert [other for other in FORMATS if FORMATS.get(other).identify(tmp_path / "out")] == [name]
    assert identify(tmp_path / "out").name == name


@pytest.mark.parametrize("name", list(FORMATS))
def test_two_images_of_one_name_and_names_that_leave_the_folder(name, store, tmp_path):
    task = Task.DETECTION if Task.DETECTION in FORMATS.get(name).tasks else Task.CLASSIFICATION
    same = [
        Entry(**{**e.to_json(), "name": "../../a/same.jpg", "labels": e.labels, "boxes": e.boxes})
        for e in entries(store, task)
    ]
    FORMATS.get(name).write(tmp_path / "deep" / "out", same, store)
    records = list(FORMATS.get(name).read(tmp_path / "deep" / "out", None))
    found = {entry.image: entry for entry in (read_entry(record, store, task) for record in records)}
    assert found.keys() == {entry.image for entry in same}
    for entry in same:
        assert [box.label for box in found[entry.image].boxes] == [box.label for box in entry.boxes]
    assert {path.name for path in tmp_path.iterdir()} == {"store", "deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}


@pytest.mark.parametrize("name", list(FORMATS))
def test_something_else_is_not_detected_and_refused_as_a_whole(name, store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("nothing, to, see\n")
    (tmp_path / "text" / "some.json").write_text('{"a": [1, 2]}')
    (tmp_path / "text" / "some.xml").write_text("<html/>")
    (tmp_path / "text" / "some.yaml").write_text("a: 1")
    for path in (tmp_path / "empty", tmp_path / "text", *sorted((tmp_path / "text").iterdir()), tmp_path / "absent"):
        assert not FORMATS.get(name).identify(path), path
    with pytest.raises(FormatError):
        list(FORMATS.get(name).read(tmp_path / "empty", None))


# One bad record among good ones: how to spoil what was written, and the file and line that the error must name. ------


def spoil_folders(out: Path) -> tuple[Path, int | None]:
    stray = out / "train" / "stray.jpg"
    stray.write_bytes(encoded(9, 32, 32, "JPEG"))
    return stray, None


def spoil_line(file: Path, line: int, text: str) -> tuple[Path, int]:
    lines = file.read_text("utf-8").splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file, line


def spoil_csv(out: Path) -> tuple[Path, int]:
    return spoil_line(out / "labels.csv", 3, "photo 1.png,scratch,nowhere,1,2,3,4")


def spoil_coco(out: Path) -> tuple[Path, None]:
    file = out / "train" / "_annotations.coco.json"
    document = json.loads(file.read_text("utf-8"))
    document["annotations"][0]["category_id"] = 99
    file.write_text(json.dumps(document), "utf-8")
    return file, None


def spoil_yolo(out: Path) -> tuple[Path, int]:
    return spoil_line(out / "labels" / "train" / "photo 0.txt", 2, "77 0.5 0.5 0.1 0.1")


def spoil_voc(out: Path) -> tuple[Path, int]:
    return spoil_line(out / "Annotations" / "photo 0.xml", 4, "<oops")[0], 5


def spoil_manifest(out: Path) -> tuple[Path, int]:
    return spoil_line(out / "train.manifest", 2, '{"source-ref": "images/photo 1.png", ')


def spoil_label_studio(out: Path) -> tuple[Path, None]:
    file = out / "tasks.json"
    tasks = json.loads(file.read_text("utf-8"))
    tasks[1]["annotations"] = "none"
    file.write_text(json.dumps(tasks), "utf-8")
    return file, None


SPOILERS = {
    "folders": (spoil_folders, "lies in no class folder"),
    "csv": (spoil_csv, "split is 'nowhere', expected train, test or val"),
    "coco": (spoil_coco, r"annotations\[0\]: category_id 99 is not in categories"),
    "yolo": (spoil_yolo, "class 77 is not one of the"),
    "voc": (spoil_voc, "is not well-formed XML"),
    "manifest": (spoil_manifest, "Expecting property name"),
    "label-studio": (spoil_label_studio, r"task\[1\]: annotations is 'none', expected a list"),
}


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_bad_record_names_its_file_and_line_and_the_rest_is_read(name, store, tmp_path):
    task = Task.DETECTION if Task.DETECTION in FORMATS.get(name).tasks else Task.CLASSIFICATION
    out = tmp_path / "out"
    FORMATS.get(name).write(out, entries(store, task), store)
    spoil, message = SPOILERS[name]
    file, line = spoil(out)
    records = list(FORMATS.get(name).read(out, None))
    bad = [record for record in records if isinstance(record, RecordError)]
    assert len(bad) == 1
    with pytest.raises(RecordError, match=message):
        raise bad[0]
    assert bad[0].file == str(file)
    assert bad[0].line == line
    assert len(records) - 1 >= 4


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "folders"])
def test_a_missing_image_is_one_bad_record(name, store, tmp_path):
    task = Task.DETECTION
    FORMATS.get(name).write(tmp_path / "out", entries(store, task), store)
    victim = next((tmp_path / "out").rglob("photo 1.png"))
    hidden = tmp_path / "elsewhere" / "photo 1.png"
    hidden.parent.mkdir()
    victim.rename(hidden)
    records = list(FORMATS.get(name).read(tmp_path / "out", None))
    bad = [record for record in records if isinstance(record, RecordError)]
    if name == "yolo":  # it lists no images: what is not there is not part of the set
        assert (len(records), bad) == (4, [])
        return
    assert len(bad) == 1
    assert "was not found" in bad[0].message
    assert "--images" in bad[0].hint
    found = list(FORMATS.get(name).read(tmp_path / "out", hidden.parent))
    assert not [record for record in found if isinstance(record, RecordError)]


def test_an_unknown_format_lists_the_near_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown format 'coc'") as caught:
        choose(tmp_path, "coc")
    assert caught.value.hint == "did you mean coco or voc?"


def test_nothing_known_says_what_was_looked_for(tmp_path):
    with pytest.raises(FormatError, match=r"of no known format; looked for class folders.*COCO.*Label Studio"):
        identify(tmp_path)
    with pytest.raises(FormatError, match="there is no file or folder"):
        identify(tmp_path / "absent")


def test_two_formats_at_once_are_not_guessed(store, tmp_path):
    FORMATS.get("csv").write(tmp_path / "out", entries(store, Task.DETECTION), store)
    FORMATS.get("manifest").write(tmp_path / "out", entries(store, Task.DETECTION), store)
    with pytest.raises(FormatError, match="could be any of csv, manifest"):
        identify(tmp_path / "out")
