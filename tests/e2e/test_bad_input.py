"""What people hand in when they do not know better: each gives a model with a warning, or a refusal that says the way.

Pictures are made here, budgets are a few seconds, and all cases share one workspace, so that MLflow's tables and the
compiled network are made once.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tenshot.automl.predictor import RGB, Predictor
from tenshot.automl.training import launch
from tenshot.automl.training.options import Options
from tenshot.datasets.ingest import ImportReport, import_dataset
from tenshot.projects.errors import EmptyDataError, TenshotError, TrainingError
from tenshot.projects.status import JobStatus, Task, VersionStatus
from tenshot.projects.workspace import Workspace

BUDGET_S = 5.0
TRIALS = 1
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 190, 60)}
Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""


@dataclass(frozen=True)
class Photo:
    pixels: Any
    labels: Sequence[str] = ()
    boxes: Sequence[tuple[str, Corners]] = ()


@dataclass(frozen=True)
class Model:
    """A bundle that answers, with a warning like `warning` in the version's details."""

    warning: str
    labels: int
    """How many the model knows."""
    refused: int = 0
    """Records that the import refused."""


@dataclass(frozen=True)
class Refusal:
    """An error of the type `kind` with a message like `message` and a hint, and nothing left behind as trained."""

    kind: type[TenshotError]
    message: str


@dataclass(frozen=True)
class Case:
    task: Task
    photos: Callable[[], Sequence[Photo]]
    options: Options = field(default_factory=lambda: Options(BUDGET_S, TRIALS))


# Pictures ---------------------------------------------------------------------------------------------------------


def ground(seed: int, width: int = 64, height: int = 64) -> RGB:
    """Blotches; no two seeds are near duplicates."""
    small = np.random.default_rng(seed).integers(60, 200, (5, 5, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def disc(seed: int, *colours: str) -> RGB:
    image, random = ground(seed), np.random.default_rng(seed)
    for colour in colours:
        x, y = (int(v) for v in random.integers(16, 48, 2))
        cv2.circle(image, (x, y), 12, COLOURS[colour], -1)
    return image


def discs(*counted: tuple[str, int]) -> list[Photo]:
    return [Photo(disc(100 * i + k, c), (c,)) for i, (c, count) in enumerate(counted) for k in range(count)]


def boxed(seed: int, label: str = "red", corners: Corners | None = None) -> Photo:
    """A square of 24 px with its box, or with another box."""
    image, random = ground(seed, 96, 96), np.random.default_rng(seed)
    x, y = (int(v) for v in random.integers(4, 64, 2))
    cv2.rectangle(image, (x, y), (x + 24, y + 24), COLOURS[label], -1)
    return Photo(image, boxes=((label, corners or (x, y, x + 24, y + 24)),))


# Classification ---------------------------------------------------------------------------------------------------


def one_label() -> list[Photo]:
    return discs(("red", 6))


def one_image_of_a_label() -> list[Photo]:
    return discs(("red", 10), ("blue", 1))


def label_of_near_duplicates() -> list[Photo]:
    """Wherever the three blue ones are held out, training has no blue."""
    copies = []
    for k in range(3):
        copy = disc(500, "blue")
        copy[k, 0] += 1
        copies.append(Photo(copy, ("blue",)))
    return discs(("red", 6), ("green", 6)) + copies


def two_images() -> list[Photo]:
    return discs(("red", 1), ("blue", 1))


def one_image() -> list[Photo]:
    return discs(("red", 1))


def the_same_image(*labels: str) -> list[Photo]:
    return [Photo(disc(0, "red"), (label,)) for label in labels]


def nearly_the_same_image() -> list[Photo]:
    found = []
    for k in range(10):
        image = disc(0, "red")
        image[k, 0] += 1
        found.append(Photo(image, ("even" if k % 2 else "odd",)))
    return found


def five_hundred_labels_of_an_image() -> list[Photo]:
    return [Photo(ground(k, 32, 32), (f"label {k}",)) for k in range(500)]


def bright_and_dark(shape: Callable[[int], Any]) -> list[Photo]:
    """Five bright and five dark pictures; `shape` makes one of values 60…200."""
    bright = [Photo(shape(k), ("bright",)) for k in range(5)]
    return bright + [Photo(shape(50 + k) // 4, ("dark",)) for k in range(5)]


def grey() -> list[Photo]:
    return bright_and_dark(lambda seed: ground(seed)[..., 0])


def sixteen_bit() -> list[Photo]:
    return bright_and_dark(lambda seed: ground(seed)[..., 0].astype(np.uint16) * 257)


def thirty_pixels() -> list[Photo]:
    return bright_and_dark(lambda seed: ground(seed, 30, 30))


def strips() -> list[Photo]:
    """One pixel high, or one wide."""
    return bright_and_dark(lambda seed: ground(seed, 1, 200) if seed % 2 else ground(seed, 200, 1))


def odd_names() -> list[Photo]:
    names = ("🦝 raccoon", "a/b\\c", '../"quoted", [red] <b>', "$x_1^2$ & 5 %")
    return [Photo(ground(10 * i + k), (name,)) for i, name in enumerate(names) for k in range(3)]


def name_with_a_newline() -> list[Photo]:
    return [*discs(("red", 5), ("blue", 5)), Photo(ground(900), ("two\nlines",))]


def multilabel_with_nothing() -> list[Photo]:
    choices = (("red",), ("blue",), ("red", "blue"), ())
    return [Photo(disc(k, *choices[k % 4]), choices[k % 4]) for k in range(12)]


def multilabel_with_only_nothing() -> list[Photo]:
    return [Photo(disc(k)) for k in range(6)]


def five_hundred_labels_together() -> list[Photo]:
    return [Photo(ground(k), [f"label {n}" for n in range(500) if (n + k) % 10 == 0]) for k in range(20)]


# Detection --------------------------------------------------------------------------------------------------------


def one_image_with_all_of_a_label() -> list[Photo]:
    plain = [boxed(k) for k in range(5)]
    image = ground(50, 96, 96)
    image[10:34, 10:34] = image[50:74, 60:84] = COLOURS["blue"]
    return [*plain, Photo(image, boxes=(("blue", (10, 10, 34, 34)), ("blue", (60, 50, 84, 74))))]


def one_pixel_boxes() -> list[Photo]:
    return [boxed(k, corners=(20.0 + k, 30.0, 21.0 + k, 31.0)) for k in range(6)]


def negatives_among_boxes() -> list[Photo]:
    return [boxed(k) for k in range(3)] + [Photo(ground(60 + k, 96, 96)) for k in range(3)]


def no_box_at_all() -> list[Photo]:
    return [Photo(ground(k, 96, 96)) for k in range(4)]


def five_hundred_labels_of_boxes() -> list[Photo]:
    corners = [
        (4.0 + 9 * (n % 10), 4.0 + 18 * (n // 10), 12.0 + 9 * (n % 10), 20.0 + 18 * (n // 10)) for n in range(50)
    ]
    return [
        Photo(ground(k, 96, 96), boxes=[(f"label {50 * k + n}", box) for n, box in enumerate(corners)])
        for k in range(10)
    ]


def two_boxed_images() -> list[Photo]:
    return [boxed(0), boxed(1)]


def one_boxed_image() -> list[Photo]:
    return [boxed(0)]


# The table --------------------------------------------------------------------------------------------------------

ONE, MANY, BOXES = Task.CLASSIFICATION, Task.MULTILABEL, Task.DETECTION
NO_TIME = "the budget left no time"

CASES = [
    pytest.param(Case(ONE, one_label), Refusal(TrainingError, r"one label \(red\).*at least 2"), id="one label only"),
    pytest.param(Case(ONE, one_image_of_a_label), Model("'blue'.*one image", 2), id="one image of a label"),
    pytest.param(
        Case(ONE, label_of_near_duplicates), Model("'blue'.*near duplicates", 3), id="label vanishes from a fold"
    ),
    pytest.param(Case(ONE, two_images), Model("2 training images are very few", 2), id="two images in all"),
    pytest.param(Case(ONE, one_image), Refusal(EmptyDataError, "1 labeled.*at least 2"), id="one image in all"),
    pytest.param(
        Case(ONE, lambda: the_same_image(*["red"] * 6)), Refusal(TrainingError, "at least 2"), id="six times one image"
    ),
    pytest.param(
        Case(ONE, lambda: the_same_image("red", "blue")),
        Refusal(TrainingError, "at least 2"),
        id="one image, two labels",
    ),
    pytest.param(Case(ONE, nearly_the_same_image), Model("nothing could be held out", 2), id="near duplicates only"),
    pytest.param(Case(ONE, five_hundred_labels_of_an_image), Model("one image", 500), id="500 labels, an image each"),
    pytest.param(Case(ONE, grey), Model(NO_TIME, 2), id="grey"),
    pytest.param(Case(ONE, sixteen_bit), Model(NO_TIME, 2), id="16 bits"),
    pytest.param(Case(ONE, thirty_pixels), Model(NO_TIME, 2), id="30 pixels"),
    pytest.param(Case(ONE, strips), Model(NO_TIME, 2), id="strips of a pixel"),
    pytest.param(Case(ONE, odd_names, Options(BUDGET_S)), Model(NO_TIME, 4), id="5 s, odd label names"),
    pytest.param(Case(ONE, name_with_a_newline), Model(NO_TIME, 2, refused=1), id="line break in a label"),
    pytest.param(Case(MANY, multilabel_with_nothing), Model(NO_TIME, 2), id="multilabel, images of nothing"),
    pytest.param(
        Case(MANY, multilabel_with_only_nothing),
        Refusal(TrainingError, "label"),
        id="multilabel, only images of nothing",
    ),
    pytest.param(Case(MANY, five_hundred_labels_together), Model(NO_TIME, 500), id="multilabel, 500 labels"),
    pytest.param(Case(BOXES, one_image_with_all_of_a_label), Model("'blue'.*one image", 2), id="a label in one image"),
    pytest.param(Case(BOXES, one_pixel_boxes), Model("6 of 6 boxes", 1), id="boxes of a pixel"),
    pytest.param(Case(BOXES, negatives_among_boxes), Model("very few", 1), id="images without a box"),
    pytest.param(Case(BOXES, no_box_at_all), Refusal(TenshotError, "box"), id="no box at all"),
    pytest.param(Case(BOXES, five_hundred_labels_of_boxes), Model("one image", 500), id="500 labels of boxes"),
    pytest.param(Case(BOXES, two_boxed_images, Options(BUDGET_S)), Model("very few", 1), id="5 s, two boxed images"),
    pytest.param(Case(BOXES, one_boxed_image), Refusal(EmptyDataError, "1 labeled.*at least 2"), id="one boxed image"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    found = Workspace(tmp_path_factory.mktemp("bad-input") / "home")
    yield found
    if "store" in found.__dict__:
        found.store.close()


@pytest.mark.slow
@pytest.mark.parametrize(("case", "expected"), CASES)
def test_bad_input(
    case: Case, expected: Model | Refusal, shared: Workspace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = re.sub("[^a-z0-9]+", "-", request.node.callspec.id.lower()).strip("-")
    shared.store.create_project(name, case.task, at=1.0)
    photos = case.photos()
    if isinstance(expected, Refusal):
        is_refused(shared, name, case, write(tmp_path, photos), expected)
    else:
        gives_a_model(shared, name, case, write(tmp_path, photos), expected)


def gives_a_model(workspace: Workspace, name: str, case: Case, table: Path, expected: Model) -> None:
    imported = import_dataset(workspace, name, table)
    assert_says_why(imported, expected.refused)
    version = launch.launch(workspace, name, case.options, show=lambda _: None)
    assert version.status is VersionStatus.TRAINING_COMPLETED
    warnings = version.details["warnings"]
    assert any(re.search(expected.warning, warning) for warning in warnings), warnings
    predictor = Predictor.load(workspace.bundle_dir(name, version.number))
    assert len(predictor.manifest.labels) == expected.labels
    (answer,) = predictor.predict([ground(12345, 96, 96)], min_confidence=0.0)
    assert all(0.0 <= found.confidence <= 100.0 for found in answer)
    assert case.task is not Task.CLASSIFICATION or len(answer) == expected.labels


def assert_says_why(imported: ImportReport, refused: int) -> None:
    assert len(imported.refused) == refused
    assert all(refusal.message and refusal.file for refusal in imported.refused)


def is_refused(workspace: Workspace, name: str, case: Case, table: Path, expected: Refusal) -> None:
    """By the import or by the training, whichever sees it first."""
    with pytest.raises(TenshotError, match=f"(?s){expected.message}") as caught:
        import_dataset(workspace, name, table)
        launch.launch(workspace, name, case.options, show=lambda _: None)
    assert isinstance(caught.value, expected.kind | TrainingError)
    assert caught.value.hint
    for version in workspace.store.versions(name):
        assert version.status is VersionStatus.TRAINING_FAILED
        assert version.status_message == caught.value.message
        assert not workspace.bundle_dir(name, version.number).exists()
    assert all(job.status is JobStatus.FAILED for job in workspace.store.jobs(project=name))


def write(folder: Path, photos: Sequence[Photo]) -> Path:
    """The pictures and a table of their labels and boxes, as people export it."""
    table = folder / "labels.csv"
    with table.open("w", encoding="utf-8", newline="") as target:
        sheet = csv.writer(target)
        with_boxes = any(photo.boxes for photo in photos)
        sheet.writerow(("image", "label", *(("xmin", "ymin", "xmax", "ymax") if with_boxes else ())))
        for number, photo in enumerate(photos):
            pixels = photo.pixels if photo.pixels.ndim == 2 else photo.pixels[..., ::-1]
            assert cv2.imwrite(str(folder / f"{number}.png"), pixels)
            rows: list[tuple[Any, ...]] = [(f"{number}.png", label) for label in photo.labels]
            rows += [(f"{number}.png", label, *corners) for label, corners in photo.boxes]
            sheet.writerows(rows or [(f"{number}.png", "", *(("",) * 4 if with_boxes else ()))])
    return table
