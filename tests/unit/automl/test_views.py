from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.views import POLICIES, view


@pytest.fixture
def image() -> np.ndarray:
    """Dark left to bright right, and darker below: mirrored and turned views are told by their gradients."""
    across = np.linspace(40, 220, 48)[None, :] * np.linspace(1.0, 0.5, 40)[:, None]
    return np.repeat(across[..., None], 3, axis=2).astype(np.uint8)


def signs(view_: np.ndarray) -> tuple[int, int]:
    """Brighter to the right (1) or left (-1); brighter above (1) or below (-1)."""
    grey = view_.mean(2)
    half_h, half_w = grey.shape[0] // 2, grey.shape[1] // 2
    right = grey[:, half_w:].mean() - grey[:, :half_w].mean()
    above = grey[:half_h].mean() - grey[half_h:].mean()
    return int(np.sign(right)), int(np.sign(above))


@pytest.mark.parametrize("policy", POLICIES)
def test_deterministic(policy: str, image: np.ndarray) -> None:
    before = image.copy()
    first = [view(image, "id", policy, k) for k in range(6)]
    again = [view(image, "id", policy, k) for k in reversed(range(6))][::-1]
    for one, two in zip(first, again, strict=True):
        assert one.dtype == np.uint8
        assert one.shape == image.shape
        assert np.array_equal(one, two)
    assert np.array_equal(first[0], image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "plain"])
def test_views_differ_by_number_and_image(policy: str, image: np.ndarray) -> None:
    views = [view(image, "id", policy, k).tobytes() for k in range(6)] + [view(image, "other", policy, 1).tobytes()]
    assert len(set(views)) == 7


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("plain", [(1, 1)] * 5, id="plain"),
        pytest.param("crop", [(1, 1)] * 5, id="crop"),
        pytest.param("hflip", [(1, 1), (-1, 1), (1, 1), (-1, 1), (1, 1)], id="hflip"),
        pytest.param("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1), (1, 1)], id="flips"),
        pytest.param("colour", [(1, 1), (-1, 1), (1, 1), (-1, 1), (1, 1)], id="colour"),
    ],
)
def test_orientation(policy: str, expected: list[tuple[int, int]], image: np.ndarray) -> None:
    assert [signs(view(image, "id", policy, k)) for k in range(5)] == expected


def test_only_colour_changes_colours() -> None:
    grey = np.full((32, 32, 3), 120, np.uint8)
    assert all((view(grey, "id", policy, 1) == 120).all() for policy in ("crop", "hflip", "flips"))
    assert not (view(grey, "id", "colour", 1) == 120).all()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("hw", [(1, 1), (1, 50), (3, 2)], ids=str)
def test_tiny(policy: str, hw: tuple[int, int]) -> None:
    assert view(np.full((*hw, 3), 9, np.uint8), "id", policy, 1).shape == (*hw, 3)
