"""Detectors by name: each family loads its base weights, trains, answers and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.detectors.family import DetectorFamily

DETECTORS: Registry[DetectorFamily] = Registry("detector", {"yolov8n": "tenshot.automl.detectors.yolov8:FAMILY"})


def family_of(base: str) -> DetectorFamily:
    """Of a row of DETECTORS, or of published weights such as `ultralytics:yolo11n`."""
    library, _, name = base.partition(":")
    if not name:
        return DETECTORS.get(library)
    from tenshot.automl.detectors import yolov8

    return yolov8.published_family(name)
