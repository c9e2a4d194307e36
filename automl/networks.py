"""The networks that training works with and that the bundle exports.

A backbone is a list of stages. A *tap* is the pooled output of one stage: the last stage gives what the network was
pretrained for (average pooling); an earlier one gives average, maximum and standard deviation of its maps, which tell
more about texture and small defects (measured: docs/classification-recipe.md).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tenshot.automl.bundle import Input
from tenshot.projects.errors import WeightsError

STD_FLOOR = 1e-6
DESCRIBED_FROM = 2
"""Earlier stages see only edges and colours."""


class Backbone(nn.Module):
    """Stages of a pretrained network, in evaluation mode, without its classifier."""

    def __init__(self, name: str, stages: Sequence[nn.Module], spec: Input) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleList(stages)
        self.spec = spec
        self.eval()

    @property
    def depth(self) -> int:
        return len(self.stages)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file, by name. Raises WeightsError if it is damaged."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        raise WeightsError(
            f"{path} cannot be read as weights of torch", hint="run: tenshot models verify, and remove a damaged file"
        ) from None
    return dict(found)


def pool(maps: Tensor, *, last: bool) -> Tensor:
    """[N, C, H, W] → [N, C] for the last stage, [N, 3C] (average, maximum, standard deviation) for others."""
    mean = maps.mean((2, 3))
    if last:
        return mean
    spread = (maps - mean[:, :, None, None]).square().mean((2, 3)).clamp_min(STD_FLOOR).sqrt()
    return torch.cat([mean, maps.amax((2, 3)), spread], dim=1)


class TapNetwork(nn.Module):
    """[N, 3, H, W] → [N, D]: every tap of a backbone from `first` on, one after the other."""

    def __init__(self, backbone: Backbone, first: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        taps = []
        for index, stage in enumerate(self.backbone.stages):
            x = stage(x)
            if index >= self.first:
                taps.append(pool(x, last=index == self.backbone.depth - 1))
        return torch.cat(taps, dim=1)


class Classifier(nn.Module):
    """[N, 3, H, W] → logits [N, C]: stages up to the last tap that is used, and one linear layer on the taps."""

    def __init__(self, backbone: Backbone, taps: Sequence[int], weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.taps = tuple(sorted(taps))
        self.backbone = backbone.name
        self.depth = backbone.depth
        self.stages = nn.ModuleList(list(backbone.stages)[: self.taps[-1] + 1])
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        self.head: nn.Module = linear
        """Any module of the taps' width may be put in its place (automl/assembly.py)."""
        self.eval()

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """`start`: index of the first stage to run; `x` is then the output of the stage before it."""
        pooled = []
        for index in range(start, len(self.stages)):
            x = self.stages[index](x)
            if index in self.taps:
                pooled.append(pool(x, last=index == self.depth - 1))
        return self.head(torch.cat(pooled, dim=1))


class Described(nn.Module):
    """A classifier as it is served: [N, 3, H, W] → logits [N, C] and descriptors [N, D] of length 1, which say what
    kind of picture it is (automl/novelty.py): the averages of the outputs of `watched`, each of length 1, side by side.

    `watched` are stages somewhere inside `network`; they are looked at while it runs, so that it may be any network.
    """

    def __init__(self, network: nn.Module, watched: Sequence[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self._seen: list[Tensor] = []
        for stage in watched:
            stage.register_forward_hook(self._look)
        self.eval()

    def _look(self, _: nn.Module, __: tuple[Tensor, ...], maps: Tensor) -> None:
        self._seen.append(nn.functional.normalize(maps.mean((2, 3)), dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._seen.clear()
        logits = self.network(x)
        return logits, torch.cat(self._seen, dim=1) / len(self._seen) ** 0.5


def untouched(network: nn.Module, pretrained: Callable[[str], Backbone]) -> list[nn.Module]:
    """Stages for descriptors: those that training left as they were pretrained, asked of the weights themselves.

    `pretrained` gives a fresh backbone by its name. Of a classifier the last stage alone where nothing was tuned, since
    it knows kinds of things best; otherwise all from `DESCRIBED_FROM` to the first that was tuned. Of several
    classifiers that answer together, the one that has most of it. Empty if every first stage was tuned already.
    """
    best: list[nn.Module] = []
    rank = (False, 0)
    for found in (m for m in network.modules() if isinstance(m, Classifier)):
        kept = _kept(found, pretrained(found.backbone))
        if (kept == found.depth, kept) > rank:
            rank = (kept == found.depth, kept)
            first = kept - 1 if rank[0] else min(DESCRIBED_FROM, kept - 1)
            best = list(found.stages)[first:kept]
    return best


def _kept(network: Classifier, pretrained: Backbone) -> int:
    """How many of its first stages are as they were pretrained."""
    for index, (own, first) in enumerate(zip(network.stages, pretrained.stages, strict=False)):
        if not _same(own, first):
            return index
    return len(network.stages)


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Up to rounding: an average of equal weights may differ in its last bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=1e-4) for k in a)
