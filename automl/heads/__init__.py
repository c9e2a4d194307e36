"""Heads on frozen features: one file each. A row names a function that fits one.

    fit(x: [N, R] features, y: bool [N, C], exclusive: bool, strength: float) -> layers

A layer is (weight [out, in], bias [out]); between two of them stands a ReLU; the last one's outputs are the logits. A
linear head is one layer. `strength` is the regularisation, larger is stronger, on a scale where 1 is a sensible middle.
The same rows give the same head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tenshot.projects.registry import Registry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Layer = tuple[Floats, Floats]
FitHead = Callable[[Floats, Bools, bool, float], Sequence[Layer]]

ABSENT_LOGIT = 8.0
"""Logit of a label that no (or every) training image carries: nothing can be learned about it."""

HEADS: Registry[FitHead] = Registry(
    "head",
    {
        "logistic": "tenshot.automl.heads.logistic:fit",
        "mlp": "tenshot.automl.heads.mlp:fit",
        "prototype": "tenshot.automl.heads.prototype:fit",
        "ridge": "tenshot.automl.heads.ridge:fit",
    },
)
