"""Heads on frozen features: one file each. A row names a function that fits one.

    fit(x: [N, R] features, y: bool [N, C], exclusive: bool, strength: float) -> (weight [C, R], bias [C])

`strength` is the regularisation, larger is stronger, on a scale where 1 is a sensible middle. Every head is linear, so
that it can be folded into the last layer of the exported network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tenshot.projects.registry import Registry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FitHead = Callable[[Floats, Bools, bool, float], tuple[Floats, Floats]]

HEADS: Registry[FitHead] = Registry(
    "head",
    {
        "logistic": "tenshot.automl.heads.logistic:fit",
        "prototype": "tenshot.automl.heads.prototype:fit",
        "ridge": "tenshot.automl.heads.ridge:fit",
    },
)
