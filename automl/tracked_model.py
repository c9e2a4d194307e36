"""The MLflow model of a version: a table of encoded images in, a table of labels out. Loaded by MLflow from its file.

model = mlflow.pyfunc.load_model("models:/NAME@champion")
model.predict(pandas.DataFrame({"image": [Path("photo.jpg").read_bytes()]}))
#                                           labels
# 0  [{"name": …, "confidence": 97.1, "box": null}]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model

from tenshot.automl.predictor import Predictor
from tenshot.datasets.images import decode

MAX_MEGAPIXELS = 100.0


class TrackedModel(mlflow.pyfunc.PythonModel):
    """Needs the `serve` extra of Tenshot and nothing that trained the model."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor.load(Path(context.artifacts["bundle"]))

    def predict(self, model_input: pandas.DataFrame) -> pandas.DataFrame:
        """`model_input`: a DataFrame with the column `image` (bytes of JPEG, PNG, …). One row of JSON each."""
        images = [decode(bytes(data), name="image", max_megapixels=MAX_MEGAPIXELS) for data in model_input["image"]]
        rows = [json.dumps([p.to_json() for p in found]) for found in self.predictor.predict(images)]
        return pandas.DataFrame({"labels": rows})


set_model(TrackedModel())
