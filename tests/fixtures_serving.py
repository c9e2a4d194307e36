"""Small real bundles: networks of a few nodes, built with onnx.helper, that answer by the colour of an image.

classifier: mean of each channel → matmul → logits of red, green, blue
detector: two fixed anchors (left half, right half), scored by how red and how blue the half is
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tenshot.automl.bundle import Base, Input, Manifest, Suppression, write_manifest
from tenshot.automl.novelty import Novelty
from tenshot.automl.scores import Calibration
from tenshot.projects.status import Task, VersionStatus
from tenshot.projects.workspace import Workspace

SIZE = 32


def colour_classifier(
    directory: Path, *, project="colours", version=1, task=Task.CLASSIFICATION, novelty=False
) -> Manifest:
    """Labels red, green and blue; confident on plain colours, unsure on grey. With `novelty`, what is none of the three
    colours is unlike the training images: white and grey keep nothing."""
    weights = (np.eye(3) * 20 - 10).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"], axis=1),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    if novelty:
        nodes.append(helper.make_node("LpNormalization", ["means"], ["features"], axis=1, p=2))
        directory.mkdir(parents=True, exist_ok=True)
        # 1 - cosine is 0 for a colour of the three and 0.42 for white, which is a strangeness of -0.16.
        Novelty(np.eye(3, dtype=np.float32), np.array([-1.0, -0.3]), np.array([1.0, 1e-4])).save(directory)
    network = _network(nodes, {"weights": weights}, {"logits": ["N", 3], "features": ["N", 3]})
    kind = "softmax" if task is Task.CLASSIFICATION else "sigmoid"
    return _write(directory, network, project, version, task, ("red", "green", "blue"), Calibration(kind))


def halves_detector(directory: Path, *, project="halves", version=1) -> Manifest:
    """Labels red and blue; a box on the left half and one on the right half, each if it is of that colour."""
    half = SIZE // 2
    # [1, 2, 3, 1]: mean RGB of each half → scores of red, blue for each anchor, through a slice and a pool.
    anchors = np.array([[[half / 2, half + half / 2], [half, half], [half, half], [SIZE, SIZE]]], np.float32)
    mix = np.array([[1, 0], [-0.5, -0.5], [0, 1]], np.float32)  # red − green/2, blue − green/2
    nodes = [
        helper.make_node("AveragePool", ["images"], ["halves"], kernel_shape=[SIZE, half], strides=[SIZE, half]),
        helper.make_node("Squeeze", ["halves", "axis2"], ["channels"]),  # [N, 3, 2]
        helper.make_node("Transpose", ["channels"], ["anchored"], perm=[0, 2, 1]),  # [N, 2, 3]
        helper.make_node("MatMul", ["anchored", "mix"], ["mixed"]),  # [N, 2, 2]
        helper.make_node("Transpose", ["mixed"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Clip", ["rows", "low", "high"], ["scores"]),
        helper.make_node("Shape", ["images"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "rest"], ["shape"], axis=0),
        helper.make_node("Expand", ["anchors", "shape"], ["boxes"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output"], axis=1),
    ]
    constants = {
        "axis2": np.array([2], np.int64),
        "mix": mix,
        "low": np.array(0, np.float32),
        "high": np.array(1, np.float32),
        "rest": np.array([4, 2], np.int64),
        "anchors": anchors,
    }
    network = _network(nodes, constants, {"output": ["N", 6, 2]})
    return _write(
        directory, network, project, version, Task.DETECTION, ("red", "blue"), Calibration("platt"), fit="letterbox"
    )


def _network(nodes, constants, output_shapes) -> onnx.ModelProto:
    made = {name for node in nodes for name in node.output}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in output_shapes.items() if n in made],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _write(directory, network, project, version, task, labels, calibration, fit="stretch") -> Manifest:
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(network, directory / "model.onnx")
    openvino.save_model(
        openvino.convert_model(directory / "model.onnx"), directory / "model.xml", compress_to_fp16=False
    )
    (directory / "card.md").write_text("# Made by a test\n", "utf-8")
    (directory / "LICENSE.txt").write_text("Public domain.\n", "utf-8")
    return write_manifest(
        directory,
        Manifest(
            project=project,
            version=version,
            task=task,
            labels=labels,
            thresholds=dict.fromkeys(labels, 0.5),
            calibration=calibration,
            input=Input(SIZE, SIZE, fit),
            base=Base("tiny", "0" * 64, "CC0-1.0", "a test"),
            dataset_version=1,
            dataset_sha256="0" * 64,
            created_at=time.time(),
            seed=0,
            suppression=Suppression() if task is Task.DETECTION else None,
        ),
    )


def trained(workspace: Workspace, project="colours", task=Task.CLASSIFICATION, novelty=False) -> str:
    """A project with version 1 as training leaves it; returns its reference."""
    at = time.time()
    workspace.store.create_project(project, task, at=at)
    workspace.store.add_dataset_version(
        project, snapshot_sha256="0" * 64, parent=None, source="a test", stats={}, at=at
    )
    version = workspace.store.create_version(project, dataset_version=1, at=at)
    bundle = workspace.bundle_dir(project, version.number)
    if task is Task.DETECTION:
        halves_detector(bundle, project=project)
    else:
        colour_classifier(bundle, project=project, task=task, novelty=novelty)
    workspace.store.advance_version(project, version.number, VersionStatus.TRAINING_COMPLETED, at=at)
    return version.ref


def picture(colour=(255, 0, 0), size=(40, 30), form="PNG") -> bytes:
    """An encoded image of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, form)
    return stream.getvalue()
