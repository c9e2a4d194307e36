from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tenshot.automl.features import FIRST_TAP, Extractor, Picture
from tenshot.automl.networks import TapNetwork
from tenshot.automl.predictor import prepare
from tenshot.automl.views import view
from tenshot.projects.errors import JobCancelled
from tenshot.projects.workspace import Workspace

Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return Extractor(Workspace(tmp_path_factory.mktemp("features")), "mobilenet_v2", "stretch")


def never() -> None:
    return


def test_taps_of_the_prepared_views(extractor: Extractor, draw: Draw) -> None:
    image = draw(1, "red")
    (rows,) = extractor.features([Picture("taps", lambda: image)], "hflip", 2, never)
    batch = np.stack([prepare(view(image, "taps", "hflip", k), extractor.spec) for k in range(2)])
    with torch.inference_mode():
        expected = TapNetwork(extractor.backbone(), FIRST_TAP)(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(rows, expected, rtol=2e-3, atol=2e-3)  # kept as float16
    assert extractor.slices[extractor.depth - 1][1] == rows.shape[1]
    for tap in (3, extractor.depth - 1):
        with torch.inference_mode():
            alone = TapNetwork(extractor.backbone(), tap)(torch.from_numpy(batch)).numpy()
        found = rows[:, extractor.columns(range(tap, extractor.depth))]
        np.testing.assert_allclose(found, alone, rtol=2e-3, atol=2e-3)


def test_columns_are_in_the_order_of_the_stages(extractor: Extractor) -> None:
    assert np.array_equal(extractor.columns([7, 3]), extractor.columns([3, 7]))
    every = extractor.columns(range(FIRST_TAP, extractor.depth))
    assert np.array_equal(every, np.arange(len(every)))


def test_what_comes_from_disk_says_nothing_about_the_pace(extractor: Extractor, draw: Draw) -> None:
    pictures = [Picture(f"pace{k}", lambda k=k: draw(k, "red")) for k in range(2)]  # type: ignore[misc]
    assert extractor.missing(pictures, "crop", 3) == 6
    assert extractor.missing(pictures, "plain", 3) == 2
    extractor.features(pictures[:1], "crop", 3, never)
    assert extractor.missing(pictures, "crop", 3) == 3
    pace = extractor.seconds_per_view
    assert pace is not None
    assert pace > 0
    extractor.features(pictures[:1], "crop", 3, never)
    assert extractor.seconds_per_view == pace
    assert extractor.missing(pictures[:1], "crop", 2) == 0
    assert extractor.missing(pictures[:1], "crop", 4) == 4, "a file of fewer views is computed anew"


def test_second_time_from_disk(extractor: Extractor, draw: Draw) -> None:
    decoded = []

    def pixels() -> np.ndarray:
        decoded.append(1)
        return draw(2, "blue")

    picture = Picture("disk", pixels)
    first = extractor.features([picture], "crop", 3, never)
    again = extractor.features([picture], "crop", 3, never)
    assert len(decoded) == 1
    assert np.array_equal(first, again)
    assert np.array_equal(extractor.features([picture], "crop", 2, never), first[:, :2]), "fewer views are a part"
    assert extractor.features([picture], "crop", 4, never).shape[1] == 4, "more are computed"
    assert len(decoded) == 2


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_half_written_file_is_computed_again(extractor: Extractor, draw: Draw, keep: int) -> None:
    picture = Picture(f"half{keep}", lambda: draw(3, "red"))
    first = extractor.features([picture], "plain", 8, never)
    assert first.shape[:2] == (1, 1), "plain has one view"
    path = extractor.folder / f"half{keep}-plain.npy"
    path.write_bytes(path.read_bytes()[:keep])
    assert np.array_equal(extractor.features([picture], "plain", 8, never), first)


def test_stopped_between_images(extractor: Extractor, draw: Draw) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise JobCancelled("stop")

    pictures = [Picture(f"stop{k}", lambda k=k: draw(k, "red")) for k in range(3)]
    with pytest.raises(JobCancelled):
        extractor.features(pictures, "plain", 1, check)
    assert [Path(extractor.folder / f"stop{k}-plain.npy").is_file() for k in range(3)] == [True, False, False]
