import numpy as np
import pytest

from tenshot.serving.drawing import LEAST_SIDE_PX, colour_of, corners, draw


def label(name="cell", confidence=90.0, box=None):
    return {"name": name, "confidence": confidence, "box": box}


def box(left, top, width, height):
    return {"left": left, "top": top, "width": width, "height": height}


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (33, 47), (640, 480), (3000, 200), (1, 5000)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_draws_at_any_size(size):
    width, height = size
    image = np.full((height, width, 3), 128, np.uint8)
    drawn = draw(image, [label(box=box(0.25, 0.25, 0.5, 0.5)), label("whole")])
    assert min(drawn.size) >= min(LEAST_SIDE_PX, max(size)) or max(drawn.size) >= 4000
    assert drawn.width / drawn.height == pytest.approx(width / height, rel=0.05)
    assert np.asarray(drawn).std() > 0, "nothing was drawn"


def test_the_box_is_where_it_should_be():
    image = np.zeros((400, 400, 3), np.uint8)
    drawn = np.asarray(draw(image, [label(box=box(0.5, 0.5, 0.25, 0.25))]))
    colour = tuple(int(colour_of("cell")[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(drawn[250, 200]) == colour  # left edge
    assert tuple(drawn[299, 250]) == colour  # bottom edge
    assert not drawn[250, 250].any()  # inside
    assert not drawn[150:170].any()  # above the caption


def test_the_text_can_be_read_on_small_images():
    plain, written = (np.asarray(draw(np.zeros((20, 20, 3), np.uint8), labels)) for labels in ([], [label("x")]))
    rows = np.flatnonzero((plain != written).any(axis=(1, 2)))
    assert len(rows) >= 11, "the strip is lower than a readable letter"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(box(0, 0, 1, 1), (0, 0, 100, 50), id="whole"),
        pytest.param(box(0.5, 0.5, 0, 0), (50, 25, 51, 26), id="empty-becomes-a-pixel"),
        pytest.param(box(1, 1, 0.5, 0.5), (99, 49, 100, 50), id="past-the-edge"),
        pytest.param(box(-0.1, 0, 0.3, 1), (0, 0, 20, 50), id="before-the-edge"),
    ],
)
def test_corners_stay_inside(given, expected):
    assert corners(given, (100, 50)) == pytest.approx(expected)


def test_captions_stay_inside_and_dark():
    image = np.zeros((300, 300, 3), np.uint8)
    drawn = draw(image, [label("a very long name of a label " * 3, box=box(0.95, 0.0, 0.05, 0.05))])
    assert drawn.size == (300, 300)
    for name in ("a", "b", "c", "d", "e", "ä😀"):
        r, g, b = (int(colour_of(name)[i : i + 2], 16) / 255 for i in (1, 3, 5))
        assert 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.55
