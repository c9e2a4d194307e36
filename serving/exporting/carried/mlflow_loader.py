"""What MLflow loads an exported model with: a table with the column `image` (bytes) in, `labels` and `novelty` out.

SPDX-License-Identifier: AGPL-3.0-or-later
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any


class Table:
    """`params`: min_confidence, 0…100, or less than 0 for each label's own threshold."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        import pandas

        least = (params or {}).get("min_confidence", -1.0)
        asked = None if least < 0 else float(least)
        found = [self.predictor.predict(bytes(data), min_confidence=asked) for data in model_input["image"]]
        return pandas.DataFrame(
            {
                "labels": [json.dumps(answer["labels"]) for answer in found],
                "novelty": [answer.get("novelty", math.nan) for answer in found],
            }
        )


def _load_pyfunc(data_path: str) -> Table:
    # By its path: two exported models in one process must not get each other's module.
    path = Path(data_path, "predict.py")
    spec = importlib.util.spec_from_file_location(f"exported_predict_{abs(hash(str(path.resolve())))}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return Table(module.Predictor.load(path.parent))
