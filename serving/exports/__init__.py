"""Forms in which a model version leaves Tenshot, one file each: EXPORTS is the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.serving.exporting.form import Form

EXPORTS: Registry[type[Form]] = Registry(
    "export format",
    {
        "bento": "tenshot.serving.exports.bento:Bento",
        "docker": "tenshot.serving.exports.docker:Docker",
        "onnx": "tenshot.serving.exports.onnx:Onnx",
        "openvino": "tenshot.serving.exports.openvino:OpenVino",
        "mlflow": "tenshot.serving.exports.mlflow:MlflowModel",
        "k8s": "tenshot.serving.exports.k8s:Kubernetes",
    },
)
