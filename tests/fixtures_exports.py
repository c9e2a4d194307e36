"""Bundles of every kind that an export may meet: fits, calibrations, novelty, suppression, a second look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
from fixtures_serving import SIZE, _network, colour_classifier, halves_detector
from onnx import helper

from tenshot.automl.bundle import Input, Manifest, Suppression, read_manifest, write_manifest
from tenshot.automl.scores import Calibration
from tenshot.automl.second_look import FOLDER, write_input
from tenshot.projects.status import Task

BENT = (((-4.0, -3.0), (0.0, -0.5), (4.0, 2.5)), ((-4.0, -2.0), (4.0, 3.0)), ((-4.0, -4.0), (1.0, 0.0), (4.0, 4.0)))
NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PER_LABEL = {"slopes": (1.2, 0.8, 1.0), "intercepts": (0.1, -0.2, 0.3)}


def altered(directory: Path, **changes: object) -> Manifest:
    """The bundle with other values in its manifest."""
    return write_manifest(directory, replace(read_manifest(directory), **changes))


def with_second_look(directory: Path) -> None:
    """A detector's bundle with a network that tells red and blue apart, less sharply than the detector."""
    weights = np.array([[4, 0, 0], [0, 0, 3], [0, 4, 0]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"], axis=1),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
    ]
    folder = directory / FOLDER
    folder.mkdir()
    onnx.save(_network(nodes, {"weights": weights}, {"shares": ["N", 3]}), folder / "model.onnx")
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=False)
    write_input(folder, Input(SIZE, SIZE, "stretch"))
    write_manifest(directory, read_manifest(directory))


def _plain(directory: Path) -> None:
    colour_classifier(directory)


def _novel(directory: Path) -> None:
    colour_classifier(directory, novelty=True)


def _calibrated(directory: Path) -> None:
    colour_classifier(directory)
    altered(
        directory,
        calibration=Calibration("softmax", temperature=1.7, **PER_LABEL, knots=BENT),
        input=Input(SIZE, SIZE, "crop", crop_ratio=0.875, **NORMAL),
        thresholds={"red": 0.4, "green": 0.45, "blue": 0.3},
    )


def _many_labels(directory: Path) -> None:
    colour_classifier(directory, task=Task.MULTILABEL, novelty=True)
    calibration = Calibration("sigmoid", slope=0.9, intercept=-0.2, **PER_LABEL, knots=BENT)
    altered(directory, calibration=calibration, input=Input(SIZE, SIZE, "stretch", **NORMAL))


def _boxes(directory: Path) -> None:
    halves_detector(directory)


def _boxes_of_any_label(directory: Path) -> None:
    halves_detector(directory)
    calibration = Calibration("platt", slope=0.7, intercept=-1.0, knots=(BENT[0],))
    altered(directory, calibration=calibration, suppression=Suppression(0.4, class_agnostic=True, max_detections=1))


def _looked_at_again(directory: Path) -> None:
    halves_detector(directory)
    with_second_look(directory)


BUNDLES: dict[str, Callable[[Path], None]] = {
    "classifier": _plain,
    "classifier-novelty": _novel,
    "classifier-crop-calibrated": _calibrated,
    "multilabel-novelty-calibrated": _many_labels,
    "detector": _boxes,
    "detector-any-label": _boxes_of_any_label,
    "detector-second-look": _looked_at_again,
}
