"""From a torch network to ONNX and OpenVINO files."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openvino
import torch

from tenshot.automl.bundle import Input

if TYPE_CHECKING:
    from torch import nn

OPSET = 18


def to_onnx(network: nn.Module, spec: Input, path: Path, outputs: Sequence[str] = ("output",)) -> None:
    """float32 [N, 3, H, W] with any N → the network's outputs by these names, in its order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 3, spec.height, spec.width)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is kept on purpose: these networks have no data-dependent control flow, and it is four
        # times as fast here and leaves names that OpenVINO shows in its errors.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=["images"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in ("images", *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )


def onnx_to_openvino(source: Path, target: Path) -> None:
    """`target` is the .xml; the weights lie beside it as .bin, in float32."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may need the same network for the first time at once.
    partial = target.with_name(f"partial-{os.getpid()}-{target.name}")
    openvino.save_model(openvino.convert_model(source), partial, compress_to_fp16=False)
    partial.with_suffix(".bin").replace(target.with_suffix(".bin"))
    partial.replace(target)


def to_openvino(network: nn.Module, spec: Input, target: Path) -> None:
    """Through ONNX, so that what runs here is what the bundle holds."""
    onnx = target.with_name(f"{target.stem}-{os.getpid()}.onnx")
    to_onnx(network, spec, onnx)
    onnx_to_openvino(onnx, target)
    onnx.unlink()
