"""The MLflow model of a version: a table of encoded images in, a table of labels out. Loaded by MLflow from its file.

model = mlflow.pyfunc.load_model("models:/NAME@champion")
model.predict(pandas.DataFrame({"image": [Path("photo.jpg").read_bytes()]}))
#                                           labels  novelty
# 0  [{"name": …, "confidence": 97.1, "box": null}]      0.0
"""

from __future__ import annotations

import json
import math
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
        """`model_input`: a DataFrame with the column `image` (bytes of JPEG, PNG, …). One row each: `labels` as JSON,
        and `novelty`, 0…1 (NaN where the version does not tell it)."""
        images = [decode(bytes(data), name="image", max_megapixels=MAX_MEGAPIXELS) for data in model_input["image"]]
        looks = self.predictor.look(images)
        found = [self.predictor.answer(look, image.shape[:2]) for look, image in zip(looks, images, strict=True)]
        labels = [json.dumps(answer["labels"]) for answer in found]
        return pandas.DataFrame({"labels": labels, "novelty": [answer.get("novelty", math.nan) for answer in found]})


set_model(TrackedModel())
