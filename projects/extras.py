"""The optional parts of Tenshot: which import belongs to which extra."""

from __future__ import annotations

from importlib.util import find_spec

from tenshot.projects.errors import MissingDependencyError

EXTRAS: dict[str, tuple[str, ...]] = {
    "serve": ("bentoml", "openvino"),
    "train": (
        "albumentations",
        "jinja2",
        "matplotlib",
        "mlflow",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "optuna",
        "pytorch_lightning",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
        "ultralytics",
    ),
    "postgres": ("psycopg",),
}
"""Extra → modules that it brings."""

DISTRIBUTIONS = {
    "pytorch_lightning": "pytorch-lightning",
    "sklearn": "scikit-learn",
    "ultralytics": "ultralytics-opencv-headless",
}
"""Module → distribution, where the names differ."""


def as_missing_dependency(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """The error for people, if the module that is missing belongs to an extra."""
    missing = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if missing in modules:
            return MissingDependencyError(extra, missing)
    return None


def require(extra: str) -> None:
    """Raises MissingDependencyError if a module of the extra is not installed; imports nothing."""
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise MissingDependencyError(extra, DISTRIBUTIONS.get(module, module))
