"""From an ONNX file with folded batch norms to a torch network that can be trained, computing the same function.

Knows torch and ONNX, but no detector: the network is any torch module whose blocks hold a `conv` and a `bn`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tenshot.projects.errors import WeightsError


def fill(model: Any, onnx_path: Path) -> None:
    """Copy the file's weights into `model`, whose tensors have the same names; folded biases become batch norms with
    mean 0 and variance 1. Raises WeightsError if the file is not that network."""
    import torch

    tensors = _initializers(onnx_path)
    matched = 0
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, "conv") and hasattr(module, "bn"):
                _copy(module.conv.weight, tensors, f"{name}.conv.weight")
                _copy(module.bn.bias, tensors, f"{name}.conv.bias")
                module.bn.weight.fill_((1.0 + module.bn.eps) ** 0.5)
                module.bn.running_mean.zero_()
                module.bn.running_var.fill_(1.0)
                matched += 1
            elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                _copy(module.weight, tensors, f"{name}.weight")
                _copy(module.bias, tensors, f"{name}.bias")
                matched += 1
    expected = sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) - 1  # the fixed one of the box decoder
    if matched != expected:
        raise WeightsError(f"{onnx_path}: {matched} of {expected} convolutions were found")


def _initializers(onnx_path: Path) -> dict[str, Any]:
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(onnx_path)).graph
    except Exception as error:
        raise WeightsError(f"{onnx_path} cannot be read as ONNX: {error}", hint="tenshot models pull") from None
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _copy(target: Any, tensors: dict[str, Any], name: str) -> None:
    import torch

    if name not in tensors:
        raise WeightsError(f"the detector's weights have no tensor {name}", hint="tenshot models verify")
    if tuple(target.shape) != tensors[name].shape:
        raise WeightsError(f"{name} has shape {tensors[name].shape}; expected {tuple(target.shape)}")
    target.copy_(torch.from_numpy(tensors[name].copy()))


def recover_statistics(model: Any, inputs: Iterable[Any]) -> None:
    """Give every batch norm the mean and variance of what it sees on `inputs` (arrays [3, H, W] as the network takes
    them), without changing the function.

    Weight and bias are solved so that (x − mean) / √(variance + eps) · weight + bias stays what it was.
    """
    import torch

    sums: dict[Any, list[Any]] = {}

    def record(module: Any, given: tuple[Any, ...]) -> None:
        x = given[0].double().transpose(0, 1).flatten(1)
        old = sums.get(module, [0, 0.0, 0.0])
        sums[module] = [old[0] + x.shape[1], old[1] + x.sum(1), old[2] + (x * x).sum(1)]

    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    try:
        with torch.no_grad():
            for one in inputs:
                model.eval()(torch.from_numpy(one)[None])
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for norm, (count, total, squares) in sums.items():
            _restate(norm, total / count, (squares / count - (total / count) ** 2).clamp_min(0.0))


def _restate(norm: Any, mean: Any, variance: Any) -> None:
    old_gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    old_shift = norm.bias.double() - norm.running_mean.double() * old_gain
    norm.weight.copy_(old_gain * (variance + norm.eps).sqrt())
    norm.bias.copy_(old_shift + mean * old_gain)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
