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

from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.formats import FORMATS
from tenshot.datasets.formats.base import RawRecord
from tenshot.datasets.images import Header, ImageStore, decode
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
