"""The network as OpenVINO IR, with a predict.py beside it."""

from __future__ import annotations

from tenshot.serving.exports.onnx import Onnx


class OpenVino(Onnx):
    name = "openvino"
    runtime = "openvino"
