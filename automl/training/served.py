"""A trained classifier in the form in which it is served: logits and descriptors, as a function and as files."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tenshot.automl.networks import Backbone, Described, untouched
from tenshot.automl.predictor import Network
from tenshot.automl.training import export

if TYPE_CHECKING:
    from tenshot.automl.bundle import Input


def served(
    network: nn.Module, pretrained: Callable[[str], Backbone], spec: Input
) -> tuple[Network, Callable[[Path], None]]:
    """The network as `Trained.network` and `Trained.export` want it; later changes to `network` do not reach them.

    `pretrained`: a fresh backbone by its name. Without a stage that is as it was there are no descriptors.
    """
    copy = deepcopy(network).eval()
    watched = untouched(copy, pretrained)
    if watched:
        copy = Described(copy, watched)
    outputs = ("output", "features") if watched else ("output",)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: Any = copy(torch.from_numpy(batch))
            return np.asarray(torch.cat(found, dim=1) if watched else found)

    def write(directory: Path) -> None:
        export.to_onnx(copy, spec, directory / "model.onnx", outputs)
        export.onnx_to_openvino(directory / "model.onnx", directory / "model.xml")

    return run, write
