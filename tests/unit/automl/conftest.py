"""Generated pictures, and one project that is trained once for all tests that only look at the outcome."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tenshot.automl.training import launch
from tenshot.automl.training.options import Options
from tenshot.datasets.ingest import import_dataset
from tenshot.projects import cli
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 190, 60)}
Ask = Callable[..., tuple[int, Any]]


def picture(seed: int, *colours: str, side: int = 80) -> np.ndarray:
    """A disc of each colour on a blotchy ground, at random places; no two seeds are near duplicates."""
    random = np.random.default_rng(seed)
    ground = random.integers(60, 200, (5, 5, 3)).astype(np.uint8)
    image = cv2.resize(ground, (side, side), interpolation=cv2.INTER_CUBIC)
    for colour in colours:
        centre = random.integers(side // 4, 3 * side // 4, 2)
        cv2.circle(image, [int(v) for v in centre], side // 5, COLOURS[colour], -1)
    return image


def encoded(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def fill(folder: Path, per_colour: int, *, first_seed: int = 0, side: int = 80, colours: tuple[str, ...]) -> Path:
    """One folder a colour with so many pictures in each."""
    for number, colour in enumerate(colours):
        (folder / colour).mkdir(parents=True)
        for k in range(per_colour):
            image = picture(first_seed + 100 * number + k, colour, side=side)
            (folder / colour / f"{k}.png").write_bytes(encoded(image))
    return folder


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture(scope="session")
def folders() -> Callable[..., Path]:
    return fill


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace for the session: what one test computes of a picture the next one finds."""
    found = Workspace(tmp_path_factory.mktemp("shared") / "home")
    yield found
    if "store" in found.__dict__:
        found.store.close()


@pytest.fixture(scope="session")
def trained(shared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project `discs` with a test split and two trained versions."""
    data = tmp_path_factory.mktemp("discs")
    fill(data / "train", 6, colours=("red", "blue"))
    fill(data / "test", 5, first_seed=1000, colours=("red", "blue"))
    shared.store.create_project("discs", Task.CLASSIFICATION, at=1.0)
    import_dataset(shared, "discs", data)
    for seed in (0, 1):
        launch.launch(shared, "discs", Options(15.0, 3, seed), show=lambda _: None)
    return shared


@pytest.fixture
def discs(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """`trained`, and commands find it."""
    monkeypatch.setenv("TENSHOT_HOME", str(trained.home))
    return trained


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """A command with --json; exit status and document."""

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = cli.run([*argv, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run
