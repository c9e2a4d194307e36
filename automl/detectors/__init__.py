"""Detectors by name: each family loads its base weights, trains, answers and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.detectors.family import DetectorFamily

DETECTORS: Registry[DetectorFamily] = Registry("detector", {"yolov8n": "tenshot.automl.detectors.yolov8:FAMILY"})
