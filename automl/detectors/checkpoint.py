"""The tensors of a checkpoint that holds a whole pickled network (`.pt`), read without running anything that is in it.

A pickle may name any function to be called. Here every name becomes an inert object that only remembers what it was
given, tensors are rebuilt by our own code, and a name that no checkpoint of weights needs is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tenshot.projects.errors import WeightsError

HARMLESS = (
    "ultralytics.",
    "torch.nn.",
    "models.",
    "utils.",
    "numpy.",
    "pathlib.",
    "datetime.",
    "torchvision.transforms.",
)
"""Beginnings of names that checkpoints of detectors refer to; they are never imported."""
INERT = {
    "torch.Size", "torch.device", "torch.dtype", "builtins.getattr", "builtins.set", "builtins.slice", "_codecs.encode",
    "__builtin__.set", "__builtin__.getattr", "argparse.Namespace", "types.SimpleNamespace",
}  # fmt: skip
DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Checkpoint:
    tensors: dict[str, Tensor]
    """As in the network's state dict; floating point as float32."""
    names: dict[int, str]
    """Class names by number; empty where the checkpoint names none."""


def read(path: Path) -> Checkpoint:
    """Of the averaged network if there is one, else of the network, else of a plain state dict. Raises WeightsError."""
    try:
        with zipfile.ZipFile(path) as archive:
            document = _Archive(archive).document()
    except WeightsError as error:
        raise WeightsError(f"{path.name} {error.message}", hint=error.hint) from None
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise WeightsError(
            f"{path.name} cannot be read as a checkpoint of torch: {str(error) or type(error).__name__}",
            hint="the file is damaged or is something else",
        ) from None
    network = document
    if isinstance(document, dict) and not _tensors_only(document):
        # Not by truth: what stands for an object is an empty dict.
        network = next((document[key] for key in ("ema", "model") if document.get(key) is not None), document)
    tensors = dict(_walk(network)) if isinstance(network, _Inert) else _plain(network)
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors of a network", hint="take the weights as they are published")
    names = network.state.get("names") if isinstance(network, _Inert) else None
    known = {int(k): str(v) for k, v in names.items()} if isinstance(names, dict) else {}
    return Checkpoint({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, known)


def same_names(base: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    """Number of a label → number of the base's class that is called the same."""
    known = {_spelt(name): i for i, name in reversed(list(enumerate(base)))}
    return {i: known[_spelt(label)] for i, label in enumerate(labels) if _spelt(label) in known}


def _spelt(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


class _Inert(dict[Any, Any]):
    """Stands for any object: takes arguments, state, items and calls, and does nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        self.state = {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return _Inert()

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...

    def add(self, _: Any) -> None: ...


class _Archive:
    """torch's zip format: `data.pkl`, and each storage as a file of its own."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise WeightsError("is not a checkpoint of torch", hint="take the weights as they are published")
        self.pickle = pickles[0]
        self.folder = pickles[0].removesuffix("data.pkl")

    def document(self) -> Any:
        order = f"{self.folder}byteorder"
        if order in self.archive.namelist() and self._bytes(order) != b"little":
            raise WeightsError("was written on a machine with another byte order")
        return _Reader(io.BytesIO(self._bytes(self.pickle)), self).load()

    def storage(self, pid: Any) -> Tensor:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise WeightsError(f"holds a {kind} of {dtype}, which is no tensor")
        content = self._bytes(f"{self.folder}data/{key}")
        return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)

    def _bytes(self, name: str) -> bytes:
        if self.archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise WeightsError("is compressed, which torch's checkpoints never are")
        return self.archive.read(name)


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, archive: _Archive) -> None:
        super().__init__(stream)
        self.archive = archive

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return {"_rebuild_tensor_v2": _tensor, "_rebuild_parameter": _parameter}[name]
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        if full in INERT or full.startswith(HARMLESS) or isinstance(getattr(torch, name, None), torch.dtype):
            return type(name, (_Inert,), {})
        raise WeightsError(
            f"refers to {full}, which no checkpoint of weights needs",
            hint="nothing of it was run; take the weights from where they are published",
        )

    def persistent_load(self, pid: Any) -> Tensor:
        return self.archive.storage(pid)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _walk(module: _Inert, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers below a module under the names of its state dict."""
    left_out = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in dict(module.state.get(kind) or {}).items():
            if isinstance(tensor, Tensor) and name not in left_out:
                yield f"{prefix}{name}", tensor
    for name, child in dict(module.state.get("_modules") or {}).items():
        if isinstance(child, _Inert):
            yield from _walk(child, f"{prefix}{name}.")


def _plain(found: Any) -> dict[str, Tensor]:
    return dict(found) if isinstance(found, dict) and _tensors_only(found) else {}


def _tensors_only(found: dict[Any, Any]) -> bool:
    return bool(found) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
