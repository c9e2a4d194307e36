"""A second network looks at a detector's boxes: which ones, what becomes of their scores, what a bundle holds of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenshot.automl.base import fetch
from tenshot.automl.bundle import Input, Suppression
from tenshot.automl.detectors.examples import Example
from tenshot.automl.features import Extractor
from tenshot.automl.predictor import RGB, RUNTIMES, cut_out, look_again, prepare, suppress
from tenshot.automl.search.detection_second import CROP_S, MOST_BOXES_AN_IMAGE, PLACES, TURNS, Crops, pays
from tenshot.automl.second_look import FILE, FOLDER, MOST, UNSEEN, SecondLook, candidates, write_input
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import BundleError, WeightsError
from tenshot.projects.workspace import Workspace

SPEC = Input(128, 128, "letterbox")
SMALL = Input(16, 16, "stretch")
LABELS = ("red", "blue")
RED, BLUE = (220, 20, 20), (20, 20, 220)


def output(*rows: tuple[float, ...]) -> np.ndarray:
    """[4 + 2, A] from (x, y, width, height, score of red, score of blue)."""
    return np.array(rows, np.float32).T.copy()


def painted(*places: tuple[int, int, tuple[int, int, int]]) -> RGB:
    """128 px, grey, with 32 px squares whose left and top are given."""
    image = np.full((128, 128, 3), 128, np.uint8)
    for left, top, colour in places:
        image[top : top + 32, left : left + 32] = colour
    return image


class Colours:
    """Means of the colours of a crop, many times over: the layer's strength is made for thousands of features."""

    spec = SMALL

    def run(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(batch.mean(axis=(2, 3)), 500).astype(np.float32)

    def of_pixels(self, images: list[RGB]) -> np.ndarray:
        return self.run(np.stack([prepare(image, self.spec) for image in images]))


def example(*places: tuple[int, int, str]) -> Example:
    image = painted(*((left, top, RED if name == "red" else BLUE) for left, top, name in places))
    boxes = tuple(Box(name, left / 128, top / 128, 0.25, 0.25) for left, top, name in places)
    return Example(str(places), lambda: image, boxes)


@pytest.fixture
def crops() -> Crops:
    examples = [example((0, 0, "red"), (90, 90, "blue")), example((64, 8, "blue")), example((8, 64, "red"))]
    return Crops(examples, LABELS, Colours, seed=0)  # type: ignore[arg-type]


def test_one_box_of_each_place_is_looked_at() -> None:
    rows = [
        (20, 20, 30, 30, 0.5, 0.1),
        (21, 20, 30, 30, 0.1, 0.6),
        (90, 90, 30, 30, 0.3, 0.0),
        (50, 50, 9, 9, 0.001, 0),
    ]
    anchors, tlwh = candidates(output(*rows))
    assert anchors.tolist() == [1, 2]
    assert tlwh[1].tolist() == [75, 75, 30, 30]


def test_no_more_than_a_few_are_looked_at() -> None:
    rows = [(10 * i, 10, 5, 5, 0.1 + i / 100, 0.0) for i in range(MOST + 4)]
    assert candidates(output(*rows))[0].tolist() == list(range(MOST + 3, 3, -1))


def test_nothing_to_look_at_changes_nothing() -> None:
    raw = output((20, 20, 30, 30, 0.001, 0.0))
    second = SecondLook(lambda batch: pytest.fail("it was asked"), SMALL)
    assert np.array_equal(look_again(raw, painted(), SPEC, second), raw)


def test_the_second_network_says_which_label(crops: Crops) -> None:
    """The detector says red twice, and sees a third thing where there is nothing."""
    image = painted((16, 16, RED), (80, 80, BLUE))
    rows = [
        (32, 32, 32, 32, 0.6, 0.3),
        (96, 96, 32, 32, 0.7, 0.2),
        (97, 96, 32, 32, 0.5, 0.4),
        (100, 30, 20, 20, 0.8, 0),
    ]
    second = crops.look(range(3))
    assert second is not None
    again = look_again(output(*rows), image, SPEC, second)
    found = suppress(again, (128, 128), SPEC, Suppression(class_agnostic=True))
    top = {tuple(np.round(found.xyxy[i] * 128).astype(int)[:2].tolist()): int(found.label[i]) for i in range(2)}
    assert top == {(16, 16): 0, (80, 80): 1}
    assert again[4:, 3].max() < 0.3 * 0.8  # grey
    assert again[4:, 2].max() == 0.0  # its place was looked at through another box
    assert np.array_equal(again[:4], output(*rows)[:4])


def test_what_is_not_looked_at_keeps_a_little(crops: Crops) -> None:
    rows = [(10 * i + 5, 10, 5, 5, 0.5 - i / 100, 0.0) for i in range(MOST + 1)]
    second = crops.look(range(3))
    assert second is not None
    again = look_again(output(*rows), painted(), SPEC, second)
    assert again[4, MOST] == pytest.approx(UNSEEN * rows[MOST][4])


def test_a_label_without_an_example_gets_nothing(crops: Crops) -> None:
    layer = crops.layer([2])  # red alone
    assert layer is not None
    shares = layer.shares(Colours().of_pixels([painted((0, 0, RED))[:32, :32], painted()]))
    assert shares.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert shares[:, 1].max() < 1e-6
    assert shares[0, 0] > 0.5 > shares[1, 0]


def test_no_box_teaches_nothing() -> None:
    empty = Example("empty", painted, ())
    assert Crops([empty], LABELS, Colours, seed=0).look([0]) is None  # type: ignore[arg-type]


def test_without_weights_nobody_looks_twice() -> None:
    asked: list[int] = []

    def absent() -> Extractor:
        asked.append(1)
        raise WeightsError("not here")

    crops = Crops([example((0, 0, "red"))] * 2, LABELS, absent, seed=0)
    assert crops.look([0]) is crops.look([1]) is None
    assert (crops.absent, len(asked)) == ("not here", 1)


def test_what_a_second_look_costs_is_known_before(crops: Crops) -> None:
    assert crops.seconds == pytest.approx((4 * TURNS + 3 * PLACES) * CROP_S)
    crops.look([0, 1])
    assert crops.seconds < (TURNS + PLACES) * CROP_S
    crops.look([0, 1, 2])
    assert crops.seconds == 0.0


@pytest.mark.parametrize(
    ("corners", "shape"),
    [
        pytest.param((0.25, 0.25, 0.75, 0.75), (76, 76, 3), id="with-surroundings"),
        pytest.param((0.0, 0.0, 1.0, 1.0), (128, 128, 3), id="whole"),
        pytest.param((1.0, 1.0, 1.0, 1.0), (2, 2, 3), id="empty-in-the-corner"),
    ],
)
def test_a_box_is_cut_out(corners: tuple[float, ...], shape: tuple[int, ...]) -> None:
    found = cut_out(painted(), np.array(corners)).shape
    assert np.abs(np.array(found) - shape).max() <= 1


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([1, 2, 0], True, id="few"),
        pytest.param([int(MOST_BOXES_AN_IMAGE) + 1] * 3, False, id="many-an-image"),
        pytest.param([1] * 301, False, id="many-in-all"),
        pytest.param([0, 0], False, id="none"),
    ],
)
def test_where_a_second_look_may_pay(counts: list[int], expected: bool) -> None:
    one = example((0, 0, "red"))
    assert pays([replace(one, boxes=one.boxes * count) for count in counts]) is expected


def test_a_bundle_without_one_has_none(tmp_path: Path) -> None:
    assert SecondLook.load(tmp_path, lambda *_: None, 1) is None


def test_a_bundle_keeps_its_input(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_input(tmp_path / FOLDER, SMALL)
    asked: list[Any] = []
    found = SecondLook.load(tmp_path, lambda *given: asked.append(given), 2)
    assert found is not None
    assert found.input == SMALL
    assert asked == [(tmp_path / FOLDER, 2)]
    for damaged in ("[]", "{", '{"height": 3}'):
        (tmp_path / FOLDER / FILE).write_text(damaged)
        with pytest.raises(BundleError, match="damaged"):
            SecondLook.load(tmp_path, lambda *_: None, 1)


@pytest.mark.slow
def test_the_export_says_what_was_learned(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    fetch.ensure(workspace, "efficientnet_lite2")
    extractor = Extractor(workspace, "efficientnet_lite2", "stretch")
    crops = Crops(
        [example((0, 0, "red"), (90, 90, "blue")), example((64, 8, "blue"))], LABELS, lambda: extractor, seed=0
    )
    learned = crops.look(range(2))
    assert learned is not None
    crops.export(tmp_path)
    raw, image = output((32, 32, 32, 32, 0.6, 0.3), (96, 96, 32, 32, 0.7, 0.2)), painted((16, 16, RED), (80, 80, BLUE))
    expected = look_again(raw, image, SPEC, learned)
    for runtime in RUNTIMES.values():
        served = SecondLook.load(tmp_path, runtime, 1)
        assert served is not None
        assert look_again(raw, image, SPEC, served) == pytest.approx(expected, abs=1e-4)
