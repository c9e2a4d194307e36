"""Dataset formats, one file each: FORMATS is the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.datasets.formats.base import Format

FORMATS: Registry[Format] = Registry(
    "format",
    {
        "folders": "tenshot.datasets.formats.folders:FORMAT",
        "csv": "tenshot.datasets.formats.csv:FORMAT",
        "coco": "tenshot.datasets.formats.coco:FORMAT",
        "yolo": "tenshot.datasets.formats.yolo:FORMAT",
        "voc": "tenshot.datasets.formats.voc:FORMAT",
        "manifest": "tenshot.datasets.formats.manifest:FORMAT",
        "label-studio": "tenshot.datasets.formats.label_studio:FORMAT",
    },
)
