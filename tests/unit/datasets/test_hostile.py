"""Broken input of every kind gives typed errors, never anything else: bytes are flipped, JSON nodes are replaced."""

from __future__ import annotations

import copy
import io
import json
import random
import warnings

import numpy as np
import pytest
from PIL import Image

from tenshot.datasets import snapshots
from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.export import export
from tenshot.datasets.formats import FORMATS
from tenshot.datasets.formats.base import RawRecord, walk
from tenshot.datasets.images import Header, ImageStore, decode
from tenshot.datasets.ingest import import_dataset
from tenshot.datasets.judge import judge
from tenshot.projects.errors import FormatError, ImageError, RecordError
from tenshot.projects.status import Task

JUNK = [None, True, -1, 0, 1e308, float("nan"), "", "x\0y", "../../etc", [], [[]], {}, {"a": 1}, [1, 2, 3]]


def image(kind: str, **options) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(out, kind, **options, **({} if kind == "BMP" else {"exif": exif}))
    return out.getvalue()


@pytest.mark.filterwarnings("ignore")  # Pillow warns about broken metadata, which is what this test makes
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_flipped_bytes(kind):
    rng, whole = random.Random(kind), image(kind)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 20))):
            # Headers are short, so every second flip goes there.
            data[rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 200))] = rng.randrange(256)
        try:
            pixels = decode(bytes(data), name="x", max_megapixels=1)
        except ImageError:
            outcomes.add("refused")
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            outcomes.add("decoded")
    assert outcomes == {"refused", "decoded"}


def nodes(document, path=()):
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from nodes(value, (*path, key))


def replaced(document, path, value):
    if not path:
        return value
    changed = copy.deepcopy(document)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def removed(document, path):
    changed = copy.deepcopy(document)
    at = changed
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return changed


@pytest.mark.parametrize(
    ("name", "file"),
    [("coco", "train/_annotations.coco.json"), ("manifest", "train.manifest"), ("label-studio", "tasks.json")],
)
def test_replaced_nodes(name, file, tmp_path):
    store = ImageStore(tmp_path / "store")
    added = store.add(image("PNG"), "a.png")
    size = added.width_px, added.height_px
    entry = Entry(added.sha256, "a.png", *size, "train", ("cat",), (Box("dog", 0.1, 0.2, 0.3, 0.4),))
    FORMATS.get(name).write(tmp_path / "out", [entry], store)
    path = tmp_path / "out" / file
    document = json.loads(path.read_text())
    variants = [replaced(document, where, junk) for where in nodes(document) for junk in JUNK]
    variants += [removed(document, where) for where in nodes(document) if where]
    taken = 0
    for variant in variants:
        path.write_text(json.dumps(variant) + "\n")
        try:
            found = list(FORMATS.get(name).read(path, None))
        except FormatError:
            continue
        for record in found:
            assert isinstance(record, (RawRecord, RecordError))
            taken += isinstance(record, RawRecord) and judged(record)
    assert len(variants) > 100
    assert taken > 0


def judged(record: RawRecord) -> bool:
    for task in Task:
        try:
            for box in judge(record, Header("PNG", 40, 50, 1), task).boxes:
                assert 0 <= box.left < box.left + box.width <= 1 + 1e-9
                assert 0 <= box.top < box.top + box.height <= 1 + 1e-9
        except RecordError:
            continue
    return True


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        pytest.param("csv", "labels.csv", "image,label\na.png,{}\n", id="csv"),
        pytest.param("yolo", "labels/train/a.txt", "0 0.5 0.5 {} 0.1\n", id="yolo"),
        pytest.param("yolo", "data.yaml", "train: images/train\nnames: {}\n", id="yolo-names"),
        pytest.param("voc", "Annotations/a.xml", "<annotation><filename>{}</filename></annotation>", id="voc"),
    ],
)
@pytest.mark.parametrize(
    "junk", ["nan", "-1e400", "\x07", "'", '"', "<", "&#0;", "é" * 300, "../../../etc/passwd", "[1,[2]]", "{a: {b: c}}"]
)
def test_junk_in_text_files(name, file, text, junk, tmp_path):
    store = ImageStore(tmp_path / "store")
    added = store.add(image("PNG"), "a.png")
    entry = Entry(
        added.sha256, "a.png", added.width_px, added.height_px, "train", (), (Box("dog", 0.1, 0.2, 0.3, 0.4),)
    )
    FORMATS.get(name).write(tmp_path / "out", [entry], store)
    path = tmp_path / "out" / file
    path.write_text(text.replace("{}", junk, 1), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = list(FORMATS.get(name).read(tmp_path / "out", None))
        except FormatError:
            return
    for record in found:
        assert isinstance(record, RecordError) or judged(record)


def coco(**annotation) -> str:
    return json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "width": 50, "height": 40}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **annotation}],
    })  # fmt: skip


LINE = '{"source-ref": "%s", "a": 1, "a-metadata": {"class-name": "x"}}\n'
TABLE = "image,label,xmin,ymin,xmax,ymax,width,height\n"
YAML = "names: [a]\ntrain: "
ALIASES = "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
BOMB = "a: &a [x, x]\n" + ALIASES


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        pytest.param("coco", "c.json", coco(segmentation={"counts": ["a", "b"], "size": [4, 4]}), id="mask of texts"),
        pytest.param("coco", "c.json", coco(segmentation={"counts": [1, 2], "size": []}), id="mask without size"),
        pytest.param("coco", "c.json", coco(segmentation={"counts": [1, 2], "size": [0, 0]}), id="mask of no height"),
        pytest.param("coco", "c.json", coco(bbox=[10**400, 1, 1, 1]), id="number beyond floats"),
        pytest.param(
            "coco", "c.json", coco(bbox=[1, 1, 1, 1]).replace("50", "1" + "0" * 400), id="width beyond floats"
        ),
        pytest.param("coco", "c.json", coco(id=1).replace("50", "9" * 5000), id="number of 5000 digits"),
        pytest.param("manifest", "m.manifest", LINE % "s3://[x/a.png", id="address that is none"),
        pytest.param("csv", "l.csv", TABLE + "a.png,x,1,1,5,5,inf,inf\n", id="infinite width"),
        pytest.param("yolo", "data.yaml", YAML + "a.png\n", id="image as a list of images"),
        pytest.param("yolo", "data.yaml", YAML + '"a\\0b"\n', id="zero byte in a path"),
        pytest.param("yolo", "data.yaml", YAML + "a" * 5000 + "\n", id="path of 5000 letters"),
        pytest.param("yolo", "data.yaml", BOMB + "names: *l\n", id="aliases in names"),
        pytest.param("yolo", "data.yaml", BOMB + YAML + "*l\n", id="aliases in a path"),
        pytest.param("yolo", "data.yaml", "names: " + "[" * 5000, id="deep yaml"),
        pytest.param("yolo", "classes.txt", "\udcff\udc80", id="classes that are no text"),
        pytest.param("voc", "x.xml", '<?xml version="1.0" encoding="foo"?><annotation/>', id="unknown encoding"),
        pytest.param("voc", "ImageSets/Main/train.txt", "\udcff", id="list that is no text"),
    ],
)
def test_what_once_fell_through(name, file, text, tmp_path):
    (tmp_path / "a.png").write_bytes(image("PNG"))
    (tmp_path / "a.xml").write_text("<annotation/>")
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", errors="surrogateescape")
    try:
        found = list(FORMATS.get(name).read(path if name in ("coco", "manifest", "csv") else tmp_path, None))
    except FormatError:
        return
    assert found
    for record in found:
        assert isinstance(record, RecordError) or judged(record)


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize(
    "evil",
    [
        "//{}/escaped.png",
        "/{}/escaped.png",
        "\\\\{}\\escaped.png",
        "../" * 20 + "{}/escaped.png",
        "..",
        "x" * 300 + "/a.png",
    ],
)
def test_exports_stay_in_their_folder(name, evil, tmp_path):
    store = ImageStore(tmp_path / "store")
    added = store.add(image("PNG"), "a.png")
    format_ = FORMATS.get(name)
    labels, boxes = ((), (Box("x", 0.1, 0.1, 0.5, 0.5),)) if Task.DETECTION in format_.tasks else (("x",), ())
    names = [evil.format(tmp_path), "a\nb\x01.png", "Same.png", "same.PNG"]
    entries = [Entry(added.sha256, n, added.width_px, added.height_px, "train", labels, boxes) for n in names]
    before = set(tmp_path.rglob("*"))
    format_.write(tmp_path / "out", entries, store)
    written = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") for path in written)
    images = [path for path in written if path.suffix.lower() == ".png"]
    assert len({str(path).casefold() for path in images}) == len(entries)
    found = list(format_.read(tmp_path / "out", None))
    assert [type(record) for record in found] == [RawRecord] * len(entries)


def test_links_in_a_circle_end(tmp_path):
    folder = tmp_path / "set" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(image("PNG"))
    (folder / "loop").symlink_to(tmp_path / "set")
    (folder / "other").symlink_to(tmp_path / "set")
    assert [path.name for path in walk(tmp_path / "set")] == ["a.png"]
    assert FORMATS.get("folders").identify(tmp_path / "set")
    assert len(list(FORMATS.get("folders").read(tmp_path / "set", None))) == 1


def test_a_name_that_is_not_utf_8(workspace, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
    (tmp_path / "set" / "cat" / "\udce9t\udce9.png").write_bytes(image("PNG"))
    (tmp_path / "set" / "dog" / "b\udce4d.png").write_bytes(b"no image")
    workspace.store.create_project("p", Task.CLASSIFICATION, at=0)
    report = import_dataset(workspace, "p", tmp_path / "set")
    assert report.imported == 1
    json.dumps(report.to_json(), ensure_ascii=False).encode()


def test_an_export_that_fails_leaves_nothing(workspace, tmp_path):
    added = ImageStore.of(workspace).add(image("PNG"), "a.png")
    other = ImageStore.of(workspace).add(image("BMP"), "b.bmp")
    rows = [
        Entry(stored.sha256, "a.png", stored.width_px, stored.height_px, "train", (label,))
        for stored, label in ((added, "cat"), (other, ".hidden"))
    ]
    workspace.store.create_project("p", Task.CLASSIFICATION, at=0)
    sha256, stats = snapshots.write(workspace, rows)
    workspace.store.add_dataset_version("p", snapshot_sha256=sha256, parent=None, source="", stats=stats, at=0)
    (tmp_path / "out").mkdir()
    with pytest.raises(FormatError, match="cannot be the name of a folder"):
        export(workspace, "p", tmp_path / "out", "folders")
    assert not list((tmp_path / "out").iterdir())
    assert export(workspace, "p", tmp_path / "out", "csv") == 2
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".out")} == set()
