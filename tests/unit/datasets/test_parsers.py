"""What the parsers make of files as other tools write them, and what they say about bad ones."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenshot.datasets.formats import FORMATS, coco, csv, label_studio, manifest, yolo
from tenshot.datasets.formats.base import RawRecord
from tenshot.projects.errors import FormatError, RecordError


def jpeg(path: Path, width: int = 40, height: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path, "JPEG")
    return path


def read(name: str, path: Path, images: Path | None = None) -> tuple[list[RawRecord], list[RecordError]]:
    found = list(FORMATS.get(name).read(path, images))
    return [r for r in found if isinstance(r, RawRecord)], [r for r in found if isinstance(r, RecordError)]


def edges(box) -> tuple[float, ...]:
    return box.left, box.top, box.right, box.bottom


# folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(["cat/1.jpg", "dog/1.jpg"], [("cat", None), ("dog", None)], id="plain"),
        pytest.param(["train/cat/1.jpg", "val/cat/2.jpg"], [("cat", "train"), ("cat", "test")], id="val-is-test"),
        pytest.param(["Train/cat/1.jpg", "Test/cat/2.jpg"], [("cat", "test"), ("cat", "train")], id="capitals"),
        pytest.param(["cat/deep/er/1.jpg", "dog/1.JPG"], [("cat", None), ("dog", None)], id="nested"),
        pytest.param(["test/1.jpg", "other/2.jpg"], [("other", None)], id="images-in-a-split-folder-have-no-class"),
    ],
)
def test_folders(files, expected, tmp_path):
    for file in files:
        jpeg(tmp_path / file)
    (tmp_path / "cat" / ".DS_Store").parent.mkdir(exist_ok=True)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    records, _ = read("folders", tmp_path)
    assert sorted((r.labels[0], r.split) for r in records) == sorted(expected)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(["images/1.jpg"], id="only-images"),
        pytest.param(["1.jpg"], id="no-folders"),
        pytest.param(["cat/notes.txt"], id="no-images"),
    ],
)
def test_not_class_folders(files, tmp_path):
    for file in files:
        jpeg(tmp_path / file)
    assert not FORMATS.get("folders").identify(tmp_path)


# csv --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels", "boxes", "split"),
    [
        pytest.param("image,label\na.jpg,cat\n", ("cat",), [], None, id="two-columns"),
        pytest.param("a.jpg,cat\n", ("cat",), [], None, id="no-header"),
        pytest.param("\ufeffImage;Label;Split\na.jpg;cat;Train\n", ("cat",), [], "train", id="semicolon-bom-capitals"),
        pytest.param("filename\tclass\na.jpg\tcat, big\n", ("cat, big",), [], None, id="tab"),
        pytest.param('image,label\na.jpg,"cat, big"\n', ("cat, big",), [], None, id="quoted"),
        pytest.param("image,label\na.jpg,cat\na.jpg,dog\n\n", ("cat", "dog"), [], None, id="rows-of-one-image"),
        pytest.param("image,label,set\na.jpg,,validation\n", (), [], "test", id="nothing-in-it"),
        pytest.param(
            "image,label,left,top,width,height\na.jpg,cat,1,2,3,4\n",
            (),
            [(1, 2, 4, 6)],
            None,
            id="left-top-width-height",
        ),
        pytest.param(
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,20,cat,1,2,3,4\na.jpg,40,20,cat,5,6,7,8\n",
            (),
            [(1, 2, 3, 4), (5, 6, 7, 8)],
            None,
            id="edges-with-declared-size",
        ),
        pytest.param("label,image\r\ncat,a.jpg\r\n", ("cat",), [], None, id="other-order-and-line-ends"),
    ],
)
def test_csv(text, labels, boxes, split, tmp_path):
    jpeg(tmp_path / "images" / "a.jpg")
    (tmp_path / "x.csv").write_text(text, "utf-8")
    assert FORMATS.get("csv").identify(tmp_path / "x.csv")
    (record,), errors = read("csv", tmp_path / "x.csv")
    assert errors == []
    assert (record.labels, [edges(b) for b in record.boxes], record.split) == (labels, boxes, split)


def test_csv_ratios_and_size(tmp_path):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "x.csv").write_text("image,label,xmin,ymin,xmax,ymax,width,height\na.jpg,cat,0.1,0.2,0.5,1,400,200\n")
    (record,), _ = read("csv", tmp_path / "x.csv")
    assert (record.unit, record.declared_wh_px) == ("ratio", (400, 200))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("b.jpg", "the row has 1 columns, expected at least 2", id="short"),
        pytest.param("b.jpg,cat,nowhere", "split is 'nowhere'", id="split"),
        pytest.param("b.jpg,cat,,1,2,x,4", "expected four numbers", id="number"),
        pytest.param("b.jpg,,,1,2,3,4", "has a box without a label", id="label"),
        pytest.param(",cat", "names no image", id="image"),
        pytest.param("absent.jpg,cat", "image 'absent.jpg' was not found", id="missing-image"),
    ],
)
def test_csv_bad_row(row, message, tmp_path):
    jpeg(tmp_path / "a.jpg")
    jpeg(tmp_path / "b.jpg")
    (tmp_path / "x.csv").write_text(f"image,label,split,left,top,width,height\na.jpg,cat\n\n{row}\n")
    records, (error,) = read("csv", tmp_path / "x.csv")
    assert [r.name for r in records] == ["a.jpg"]
    assert message in error.message
    assert (error.file, error.line) == (str(tmp_path / "x.csv"), 4)


def test_csv_columns():
    assert csv.columns_of(["id", "note"]) is None
    columns = csv.columns_of(["Label", " image "])
    assert columns is not None
    assert (columns.image, columns.label) == (1, 0)


# coco -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        pytest.param([[1, 2, 5, 2, 3, 9]], (1, 2, 5, 9), id="polygon"),
        pytest.param([[1, 2, 5, 2, 3, 9], [10, 1, 12, 1, 11, 3]], (1, 1, 12, 9), id="two-polygons"),
        pytest.param({"size": [4, 5], "counts": [5, 2, 2, 2, 9]}, (1, 1, 3, 3), id="mask"),
        pytest.param({"size": [4, 5], "counts": [6, 5, 9]}, (1, 0, 3, 4), id="mask-run-over-columns"),
    ],
)
def test_enclosing_box(segmentation, expected):
    assert coco.enclosing_box(segmentation) == expected


@pytest.mark.parametrize("counts", [[5, 2, 2, 2, 9], [6, 5, 9], [0, 20], [3, 1, 16], [7, 2, 11]])
def test_mask_box_equals_pycocotools(counts):
    mask_tools = pytest.importorskip("pycocotools.mask")
    run_lengths = {"size": [4, 5], "counts": counts}
    x, y, w, h = mask_tools.toBbox(mask_tools.frPyObjects(run_lengths, 4, 5))
    assert coco.enclosing_box(run_lengths) == (x, y, x + w, y + h)


def coco_document(*annotations, **image) -> dict:
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 20, **image}],
        "categories": [{"id": 0, "name": "things"}, {"id": 3, "name": "cat"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 3, **a} for i, a in enumerate(annotations)],
    }


def read_coco(tmp_path, document, name="labels.json"):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / name).write_text(json.dumps(document))
    assert FORMATS.get("coco").identify(tmp_path / name)
    return read("coco", tmp_path / name)


@pytest.mark.parametrize(
    ("annotations", "labels", "boxes"),
    [
        pytest.param([{"bbox": [1, 2, 3, 4]}], (), [(1, 2, 4, 6)], id="box"),
        pytest.param([{"bbox": [], "segmentation": [[1, 2, 5, 2, 3, 9]]}], (), [(1, 2, 5, 9)], id="segmentation-only"),
        pytest.param([{"bbox": [1, 2, 3, 4]}, {"bbox": [0, 0, 9, 9], "iscrowd": 1}], (), [(1, 2, 4, 6)], id="crowd"),
        pytest.param([{}], ("cat",), [], id="image-level"),
        pytest.param([], (), [], id="negative"),
    ],
)
def test_coco(annotations, labels, boxes, tmp_path):
    (record,), errors = read_coco(tmp_path, coco_document(*annotations))
    assert errors == []
    assert (record.labels, [edges(b) for b in record.boxes]) == (labels, boxes)
    assert record.declared_wh_px == (40, 20)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param({"category_id": 9}, "category_id 9 is not in categories", id="category"),
        pytest.param({"bbox": [1, 2, 3]}, "bbox has 3 numbers", id="three-numbers"),
        pytest.param({"bbox": [1, 2, "3", 4]}, "bbox is '3', expected a number", id="text"),
        pytest.param({"bbox": [1, 2, 3, 4], "iscrowd": 1}, "holds only crowd regions", id="only-crowd"),
        pytest.param(
            {"segmentation": {"size": [2, 2], "counts": "abc"}}, "compressed mask and no bbox", id="compressed"
        ),
        pytest.param({"image_id": 8}, "belongs to image_id 8, which is not in images", id="image-id"),
    ],
)
def test_coco_bad_record(annotation, message, tmp_path):
    _, errors = read_coco(tmp_path, coco_document(annotation))
    assert message in errors[0].message
    assert errors[0].message.startswith(str(tmp_path / "labels.json"))


@pytest.mark.parametrize(
    ("name", "split"), [("train.json", "train"), ("instances_val2017.json", "test"), ("labels.json", None)]
)
def test_coco_split_by_file_name(name, split, tmp_path):
    (record,), _ = read_coco(tmp_path, coco_document(), name)
    assert record.split == split


def test_coco_as_exporters_write_it(tmp_path):
    for folder in ("train", "valid", "test"):
        jpeg(tmp_path / folder / "a.jpg")
        (tmp_path / folder / "_annotations.coco.json").write_text(json.dumps(coco_document()))
    records, errors = read("coco", tmp_path)
    assert errors == []
    assert [(r.split, r.source.parent.name) for r in records] == [
        ("train", "train"),
        ("test", "valid"),
        ("test", "test"),
    ]


@pytest.mark.parametrize("text", ['{"images": [], "annotations": {}, "categories": []}', '{"images": [', "[1]"])
def test_coco_broken_as_a_whole(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError):
        read("coco", tmp_path / "x.json")


# yolo -------------------------------------------------------------------------------------------------------------

NAMES = {0: "cat", 1: "dog"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("1 0.5 0.5 0.2 0.4", ("dog", 0.4, 0.3, 0.6, 0.7), id="box"),
        pytest.param("0 0.5 0.5 0.2 0.4 0.93", ("cat", 0.4, 0.3, 0.6, 0.7), id="with-confidence"),
        pytest.param("0 0.1 0.2 0.5 0.2 0.3 0.9", ("cat", 0.1, 0.2, 0.5, 0.9), id="polygon"),
        pytest.param("0 .5 .1 .9 .5 .5 .9 .1 .5", ("cat", 0.1, 0.1, 0.9, 0.9), id="turned-box"),
    ],
)
def test_yolo_line(line, expected):
    label, *found = yolo.parse_line(line, NAMES)
    assert (label, *found) == (expected[0], *map(pytest.approx, expected[1:]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("2 0.5 0.5 0.2 0.4", "class 2 is not one of the 2 names", id="class"),
        pytest.param("-1 0.5 0.5 0.2 0.4", "class -1 is not one of", id="negative-class"),
        pytest.param("cat 0.5 0.5 0.2 0.4", "expected numbers", id="word"),
        pytest.param("0 0.5 0.5 0.2", "got 3 numbers after the class", id="three"),
        pytest.param("0 1 2 3 4 5 6 7", "got 7 numbers after the class", id="odd-polygon"),
    ],
)
def test_yolo_bad_line(line, message):
    with pytest.raises(ValueError, match=message):
        yolo.parse_line(line, NAMES)


@pytest.mark.parametrize(
    ("files", "document", "splits"),
    [
        pytest.param(
            ["images/train/a.jpg", "images/val/b.jpg"],
            "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]",
            ["train", "test"],
            id="ultralytics",
        ),
        pytest.param(
            ["train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"],
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: {0: cat, 1: dog}",
            ["train", "test", "test"],
            id="paths-of-another-machine",
        ),
        pytest.param(["images/a.jpg"], None, [None], id="classes-txt"),
        pytest.param(["images/train/a.jpg", "images/test/b.jpg"], None, ["test", "train"], id="classes-txt-splits"),
        pytest.param(["a.jpg"], None, [None], id="darknet-beside"),
    ],
)
def test_yolo_layout(files, document, splits, tmp_path):
    for file in files:
        image = jpeg(tmp_path / file)
        parts = ["labels" if part == "images" else part for part in image.relative_to(tmp_path).parts]
        label = tmp_path.joinpath(*parts).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("1 0.5 0.5 0.2 0.4\n")
    if document:
        (tmp_path / "data.yaml").write_text(document)
    else:
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert FORMATS.get("yolo").identify(tmp_path)
    records, errors = read("yolo", tmp_path)
    assert errors == []
    assert [r.split for r in records] == splits
    assert all([b.label for b in r.boxes] == ["dog"] for r in records)


def test_yolo_image_without_label_file_is_background(tmp_path):
    jpeg(tmp_path / "images" / "a.jpg")
    (tmp_path / "classes.txt").write_text("cat\n")
    (record,), _ = read("yolo", tmp_path)
    assert (record.labeled, record.boxes) == (True, ())


# voc --------------------------------------------------------------------------------------------------------------

OBJECT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>9</ymax></bndbox></object>"


def voc_xml(objects: str = OBJECT, size: str = "<size><width>40</width><height>20</height></size>") -> str:
    return f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>"


def test_voc(tmp_path):
    jpeg(tmp_path / "train" / "a.jpg")
    (tmp_path / "train" / "a.xml").write_text(voc_xml())
    (record,), _ = read("voc", tmp_path)
    assert (record.split, record.declared_wh_px, edges(record.boxes[0])) == ("train", (40, 20), (1, 2.5, 30, 9))


def test_voc_size_of_zero_says_nothing(tmp_path):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(voc_xml(size="<size><width>0</width><height>0</height></size>"))
    (record,), _ = read("voc", tmp_path)
    assert record.declared_wh_px is None


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        pytest.param(voc_xml("<object><name>cat</name></object>"), "object 'cat' has no bndbox", id="no-box"),
        pytest.param(voc_xml(OBJECT.replace("2.5", "two")), "expected four numbers", id="words"),
        pytest.param("<annotation>", "is not well-formed XML", id="cut"),
        pytest.param("<html/>", "the root element is <html>", id="html"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY b "boo">]><annotation><filename>&b;</filename></annotation>',
            "entities",
            id="entities",
        ),
    ],
)
def test_voc_bad_file(xml, message, tmp_path):
    jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(voc_xml())
    (tmp_path / "b.xml").write_text(xml)
    records, (error,) = read("voc", tmp_path)
    assert len(records) == 1
    assert message in error.message
    assert error.file == str(tmp_path / "b.xml")


# manifest ---------------------------------------------------------------------------------------------------------

IMAGE_LEVEL = {
    "source-ref": "s3://bucket/parts/gear.jpg",
    "ok": 1,
    "ok-metadata": {"class-name": "gear-ok", "type": "groundtruth/image-classification", "confidence": 1},
}
BOXED = {
    "source-ref": "s3://bucket/shelf/s 77.png",
    "boxes": {
        "image_size": [{"width": 1280, "height": 720, "depth": 3}],
        "annotations": [{"class_id": 0, "left": 40, "top": 55, "width": 210, "height": 180}],
    },
    "boxes-metadata": {
        "class-map": {"0": "cereal"},
        "objects": [{"confidence": 1}],
        "type": "groundtruth/object-detection",
    },
}


@pytest.mark.parametrize(
    ("line", "labels", "boxes", "declared", "labeled"),
    [
        pytest.param(IMAGE_LEVEL, ["gear-ok"], [], None, True, id="image-level"),
        pytest.param(
            {**IMAGE_LEVEL, "size": 0, "size-metadata": {"class-name": "small"}},
            ["gear-ok", "small"],
            [],
            None,
            True,
            id="two-attributes",
        ),
        pytest.param(
            {"source-ref": "x", "tags": [2, 0], "tags-metadata": {"class-map": {"0": "a", "2": "c"}}},
            ["c", "a"],
            [],
            None,
            True,
            id="native-multi-label",
        ),
        pytest.param(BOXED, [], [("cereal", 40, 55, 250, 235)], (1280, 720), True, id="boxes"),
        pytest.param(
            {**BOXED, **IMAGE_LEVEL}, ["gear-ok"], [("cereal", 40, 55, 250, 235)], (1280, 720), True, id="both"
        ),
        pytest.param({"source-ref": "x"}, [], [], None, False, id="unlabeled"),
    ],
)
def test_manifest_line(line, labels, boxes, declared, labeled):
    found = manifest.parse_line(line)
    assert (found[0], [(b.label, *edges(b)) for b in found[1]], *found[2:]) == (labels, boxes, declared, labeled)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{}", "source-ref is None", id="no-source"),
        pytest.param("[1]", "the line is .*expected an object", id="list"),
        pytest.param("{", "Expecting property name", id="cut"),
        pytest.param(
            json.dumps({**BOXED, "boxes-metadata": {"class-map": {}}}), "class_id 0 is not in class-map", id="class"
        ),
        pytest.param(json.dumps({**IMAGE_LEVEL, "ok-metadata": {}}), "neither class-name nor class-map", id="metadata"),
        pytest.param(json.dumps({**IMAGE_LEVEL, "source-ref": "s3://b/absent.jpg"}), "was not found", id="image"),
    ],
)
def test_manifest_bad_line(line, message, tmp_path):
    jpeg(tmp_path / "photos" / "gear.jpg")
    good = json.dumps(IMAGE_LEVEL)
    (tmp_path / "train.manifest").write_text(f"{good}\n{line}\n")
    records, (error,) = read("manifest", tmp_path / "train.manifest", tmp_path / "photos")
    assert [r.name for r in records] == ["gear.jpg"]
    with pytest.raises(RecordError, match=message):
        raise error
    assert error.line == 2


@pytest.mark.parametrize("where", ["gear.jpg", "parts/gear.jpg", "a/b/parts/gear.jpg"])
def test_manifest_finds_s3_images_by_the_tail_of_their_key(where, tmp_path):
    jpeg(tmp_path / "photos" / where)
    (tmp_path / "x.jsonl").write_text(json.dumps(IMAGE_LEVEL))
    (record,), _ = read("manifest", tmp_path / "x.jsonl", tmp_path / "photos")
    assert record.source == tmp_path / "photos" / where


def test_two_images_of_one_name_are_not_guessed(tmp_path):
    jpeg(tmp_path / "photos" / "a" / "gear.jpg")
    jpeg(tmp_path / "photos" / "b" / "gear.jpg")
    (tmp_path / "x.jsonl").write_text(json.dumps(IMAGE_LEVEL))
    records, (error,) = read("manifest", tmp_path / "x.jsonl", tmp_path / "photos")
    assert records == []
    assert "was not found" in error.message


# label studio -----------------------------------------------------------------------------------------------------


def rectangle(**value) -> dict:
    full = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"], **value}
    return {"type": "rectanglelabels", "original_width": 40, "original_height": 20, "value": full}


def choice(*names) -> dict:
    return {"type": "choices", "value": {"choices": list(names)}}


def task(*results, image="/data/upload/3/0a1b2c3d-a.jpg", **annotation) -> dict:
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 5, "result": list(results), **annotation}]}


def read_tasks(tmp_path, *tasks):
    jpeg(tmp_path / "images" / "a.jpg")
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    return read("label-studio", tmp_path / "x.json")


@pytest.mark.parametrize(
    ("results", "labels", "boxes"),
    [
        pytest.param([choice("cat")], ("cat",), [], id="choice"),
        pytest.param([choice("cat", "dog")], ("cat", "dog"), [], id="choices"),
        pytest.param([rectangle()], (), [(0.1, 0.2, 0.4, 0.6)], id="rectangle"),
        # A quarter turn about the top left corner: 12×8 px become 8×12 px to its left.
        pytest.param([rectangle(rotation=90)], (), [(-0.1, 0.2, 0.1, 0.8)], id="turned"),
        pytest.param([{"type": "textarea", "value": {"text": ["hm"]}}], (), [], id="other-kinds-are-ignored"),
        pytest.param(
            [{"type": "polygonlabels", "value": {"points": [[1, 2], [9, 2], [5, 8]], "polygonlabels": ["cat"]}}],
            (),
            [(0.01, 0.02, 0.09, 0.08)],
            id="polygon",
        ),
        pytest.param(
            [
                {
                    "type": "ellipselabels",
                    "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["a"]},
                }
            ],
            (),
            [(0.4, 0.3, 0.6, 0.7)],
            id="ellipse",
        ),
        pytest.param([], (), [], id="empty-is-negative"),
    ],
)
def test_label_studio(results, labels, boxes, tmp_path):
    (record,), errors = read_tasks(tmp_path, task(*results))
    assert errors == []
    assert (record.labels, record.labeled, record.name) == (labels, True, "a.jpg")
    assert [edges(b) for b in record.boxes] == [pytest.approx(box) for box in boxes]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param([], None, id="none"),
        pytest.param([{"id": 1, "was_cancelled": True}], None, id="cancelled"),
        pytest.param([{"id": 1}, {"id": 2, "was_cancelled": True}], 1, id="cancelled-and-not"),
        pytest.param([{"id": 2, "updated_at": "2026-01-01"}, {"id": 1, "updated_at": "2026-02-01"}], 1, id="newest"),
        pytest.param([{"id": 1, "ground_truth": True}, {"id": 2, "updated_at": "2026-02-01"}], 1, id="ground-truth"),
        pytest.param([{"id": 1}, {"id": 2}], 2, id="no-dates"),
    ],
)
def test_label_studio_choice_of_annotation(annotations, expected):
    chosen = label_studio.choose(annotations)
    assert (chosen and chosen["id"]) == expected


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/3/0a1b2c3d-a.jpg",
        "/data/local-files/?d=some/where/a.jpg",
        "s3://bucket/key/a.jpg",
        "https://host/path/a.jpg?token=1",
        "images/a.jpg",
    ],
)
def test_label_studio_references(image, tmp_path):
    (record,), errors = read_tasks(tmp_path, task(choice("cat"), image=image))
    assert errors == []
    assert record.source == tmp_path / "images" / "a.jpg"


def test_label_studio_inline_image(tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    image = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    (record,), _ = read_tasks(tmp_path, task(choice("cat"), image=image))
    assert record.source == out.getvalue()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(task(rectangle(rectanglelabels=[])), "has the labels [], expected one", id="no-label"),
        pytest.param(task(rectangle(x="a")), "x is 'a', expected a number", id="number"),
        pytest.param(task({**rectangle(), "image_rotation": 90}), "was turned by 90°", id="image-rotation"),
        pytest.param(task(image="https://host/other.jpg"), "never downloaded", id="remote"),
        pytest.param({"id": 1, "data": {"text": "hello"}}, "data names no image (its keys are text)", id="no-image"),
        pytest.param("hello", "the task is 'hello', expected an object", id="not-a-task"),
    ],
)
def test_label_studio_bad_task(bad, message, tmp_path):
    records, (error,) = read_tasks(tmp_path, task(choice("cat")), bad)
    assert len(records) == 1
    assert message in error.message
    assert "task[1]" in error.message


def test_label_studio_cancelled_task_is_unlabeled(tmp_path):
    (record,), _ = read_tasks(tmp_path, task(choice("cat"), was_cancelled=True))
    assert (record.labeled, record.labels) == (False, ())
