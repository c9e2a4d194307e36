"""The examples of docs/formats.md, read as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tenshot.datasets.formats import FORMATS
from tenshot.projects.errors import TenshotError
from tenshot.projects.status import Task

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
SECTIONS = dict(
    re.findall(r"^## [^`\n]*`([a-z-]+)`\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
EXPECTED = {
    "folders": {"1.jpg": ("good",), "2.jpg": ("good",), "3.jpg": ("scratched",)},
    "csv": {"1.jpg": ("nut", "bolt"), "2.jpg": ()},
    "coco": {"1.jpg": ("nut",)},
    "yolo": {"1.jpg": ("nut",), "2.jpg": ()},
    "voc": {"1.jpg": ("nut",)},
    "manifest": {"1.jpg": ("good",), "2.jpg": ("scratched",)},
    "label-studio": {"1.jpg": ("nut",)},
}
"""Image → labels and labels of boxes."""
BOX_OF_A_NUT_PX = (10, 20, 40, 35)
WIDTH_PX, HEIGHT_PX = 100, 80


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The section's files and images as a folder."""
    for info, content in re.findall(r"^```\w+ (\S+)\n(.*?)^```", SECTIONS[request.param], re.MULTILINE | re.DOTALL):
        for name in content.splitlines() if info == "images" else [info.removeprefix("file=")]:
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if info == "images":
                cv2.imwrite(str(target), np.full((HEIGHT_PX, WIDTH_PX, 3), sum(name.encode()) % 256, np.uint8))
            else:
                target.write_text(content, "utf-8")
    return tmp_path


def test_every_format_has_an_example() -> None:
    assert set(SECTIONS) == set(FORMATS) == set(EXPECTED)


@pytest.mark.parametrize(("example", "name"), [(n, n) for n in EXPECTED], indirect=["example"])
def test_the_example_says_what_it_should(example: Path, name: str) -> None:
    records = list(FORMATS.get(name).read(example, None))
    assert [r for r in records if isinstance(r, TenshotError)] == []
    found = {Path(r.name).name: (*r.labels, *(box.label for box in r.boxes)) for r in records}  # type: ignore[union-attr]
    assert found == EXPECTED[name]


@pytest.mark.parametrize(("example", "name"), [(n, n) for n in EXPECTED], indirect=["example"])
def test_the_box_is_where_it_should_be(example: Path, name: str) -> None:
    boxes = [(r, b) for r in FORMATS.get(name).read(example, None) for b in r.boxes if b.label == "nut"]  # type: ignore[union-attr]
    for record, box in boxes:
        scale = (WIDTH_PX, HEIGHT_PX) if record.unit == "ratio" else (1, 1)  # type: ignore[union-attr]
        edges = (box.left * scale[0], box.top * scale[1], box.right * scale[0], box.bottom * scale[1])
        assert edges == pytest.approx(BOX_OF_A_NUT_PX)


@pytest.mark.parametrize(("example", "name"), [(n, n) for n in EXPECTED], indirect=["example"])
def test_the_example_is_recognised(example: Path, name: str) -> None:
    assert [known for known in FORMATS if FORMATS.get(known).identify(example)] == [name]


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_table_of_tasks_is_true(name: str) -> None:
    row = next(line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` "))
    said = {task for task, cell in zip(Task, row.split("|")[2:5], strict=True) if cell.strip() == "yes"}
    assert said == FORMATS.get(name).tasks
