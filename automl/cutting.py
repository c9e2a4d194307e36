"""Cutting any image network into the stages of a `Backbone`.

The network is traced; it can be cut wherever a single tensor is all that the rest of it needs. Of these places as many
are taken as make eight stages: the end of each resolution, and then more of them where the maps are small, since taps
and fine-tuning look at the last stages. Tokens and channels-last maps leave a stage as [N, C, H, W] like any other map.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

STAGES = 8
"""As many as the search spaces are written for (configs/search_spaces)."""
LEAST_TAIL = 0.01
"""Share of the parameters that must follow a cut: what only pools is no stage."""
Layout = Literal["maps", "channels last", "tokens", "row"]


@dataclass(frozen=True)
class Cut:
    node: fx.Node
    layout: Layout
    level: int
    """How often the side was halved."""
    size: int
    """Values an image."""


def stages(network: nn.Module, side_px: int) -> list[nn.Module]:
    """[N, 3, side, side] → the same as `network`, which gives [N, D]; the last stage gives [N, D, 1, 1].

    Where there are fewer places to cut, the first stages only pass the image on. What the network's own modules do in
    place is undone, so that a stage never changes its input. Raises whatever tracing raises for a network that cannot
    be traced.
    """
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    traced = fx.GraphModule(network, _Tracer().trace(network.eval()))
    for node in traced.graph.nodes:
        _out_of_place(node)
    shapes = _shapes(traced, side_px)
    cuts = chosen(_candidates(traced, shapes, side_px), STAGES - 1)
    constant = _constant(traced.graph)
    nodes = [n for n in traced.graph.nodes if n.op not in ("placeholder", "output") and n not in constant]
    result: list[nn.Module] = []
    before = Cut(next(n for n in traced.graph.nodes if n.op == "placeholder"), "maps", 0, 0)
    end = Cut(_result(traced.graph), "row", 0, 0)
    for cut in (*cuts, end):
        upto = nodes.index(cut.node) + 1
        result.append(_stage(traced, before, nodes[:upto], cut, constant))
        nodes, before = nodes[upto:], cut
    return [*(nn.Identity() for _ in range(STAGES - len(result))), *result]


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        from timm.layers import get_notrace_functions

        super().__init__(autowrap_functions=tuple(get_notrace_functions()), param_shapes_constant=True)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        from timm.layers import is_notrace_module

        return bool(is_notrace_module(type(m))) or super().is_leaf_module(m, module_qualified_name)


def _out_of_place(node: fx.Node) -> None:
    if node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__"):
        node.target = str(node.target).removesuffix("_")
    if node.op == "call_function":
        node.target = {operator.iadd: operator.add, operator.imul: operator.mul}.get(node.target, node.target)
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}


# Where to cut ---------------------------------------------------------------------------------------------------------


def _shapes(traced: fx.GraphModule, side_px: int) -> dict[fx.Node, tuple[int, ...]]:
    """Of every tensor for a batch of two."""
    found: dict[fx.Node, tuple[int, ...]] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                found[n] = tuple(value.shape)
            return value

    with torch.no_grad():
        Watch(traced).run(torch.zeros(2, 3, side_px, side_px))
    return found


def _constant(graph: fx.Graph) -> set[fx.Node]:
    """What does not depend on the image: parameters and what is computed from them. Each stage has its own copy."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        computed = node.op not in ("placeholder", "output", "get_attr")
        if node.op == "get_attr" or (computed and all(one in found for one in node.all_input_nodes)):
            found.add(node)
    return found


def _result(graph: fx.Graph) -> fx.Node:
    (output,) = (node for node in graph.nodes if node.op == "output")
    (node,) = output.all_input_nodes
    return node


def _candidates(traced: fx.GraphModule, shapes: dict[fx.Node, tuple[int, ...]], side_px: int) -> list[Cut]:
    """In order; of neighbours of one size (convolution, norm, activation) only the last."""
    nodes, constant = list(traced.graph.nodes), _constant(traced.graph)
    index = {node: i for i, node in enumerate(nodes)}
    last_use = {node: max((index[user] for user in node.users), default=index[node]) for node in nodes}
    weights = [_weights(traced, node) for node in nodes]
    live: set[fx.Node] = set()
    found: list[Cut] = []
    previous = None
    for i, node in enumerate(nodes):
        if node in constant:
            continue
        live = {one for one in live if last_use[one] > i} | ({node} if last_use[node] > i else set())
        alone = live == {node} and node.op not in ("placeholder", "output")
        cut = _cut(node, shapes.get(node, ()), side_px) if alone else None
        if cut and sum(weights[i + 1 :]) >= LEAST_TAIL * sum(weights):
            if found and previous is found[-1].node and found[-1].size == cut.size:
                found.pop()
            found.append(cut)
        previous = node
    return found


def _weights(traced: fx.GraphModule, node: fx.Node) -> int:
    if node.op == "call_module":
        return sum(p.numel() for p in traced.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner: Any = traced
        for part in str(node.target).split("."):
            owner = getattr(owner, part)
        return owner.numel() if isinstance(owner, nn.Parameter) else 0
    return 0


def _cut(node: fx.Node, shape: tuple[int, ...], side_px: int) -> Cut | None:
    if len(shape) not in (3, 4) or shape[0] != 2 or min(shape) < 1:
        return None
    size = math.prod(shape[1:])
    if len(shape) == 3:
        layout: Layout = "tokens"
        side = math.sqrt(shape[1])
    else:
        last = shape[1] == shape[2] != shape[3]
        layout, side = ("channels last", shape[1]) if last else ("maps", shape[2])
    return Cut(node, layout, round(math.log2(side_px / side)), size)


def chosen(candidates: Sequence[Cut], count: int) -> list[Cut]:
    """At most `count` of them, in order."""
    narrow = list(candidates)
    for _ in range(2):  # first what a block widens to, then the same after its stride
        fewer = _without_bulges(narrow)
        if len(fewer) < count:
            break
        narrow = fewer
    if len(narrow) <= count:
        return narrow
    levels = sorted({cut.level for cut in narrow})
    groups = {level: [cut for cut in narrow if cut.level == level] for level in levels}
    if len(levels) == 1:
        return [narrow[0], *_spread(narrow[1:], count - 1, with_last=False)]
    *upper, deepest = levels
    takes = dict.fromkeys(levels, 0) | dict.fromkeys(upper[-count:], 1)
    turns = [deepest, upper[-1], deepest, upper[-1], *upper[-2:-1]]
    while sum(takes.values()) < count:
        open_ = [level for level in turns if takes[level] < len(groups[level])]
        open_ = open_ or [level for level in levels if takes[level] < len(groups[level])]
        for level in open_:
            if sum(takes.values()) < count and takes[level] < len(groups[level]):
                takes[level] += 1
    taken = [cut for level in levels for cut in _spread(groups[level], takes[level], with_last=level != deepest)]
    return sorted(taken, key=narrow.index)  # windows of attention look like another level in between


def _without_bulges(cuts: Sequence[Cut]) -> list[Cut]:
    """Without those runs of one size that are larger than the run before and the run after."""
    runs: list[list[Cut]] = []
    for cut in cuts:
        if runs and runs[-1][-1].size == cut.size:
            runs[-1].append(cut)
        else:
            runs.append([cut])
    kept = []
    for i, run in enumerate(runs):
        inner = 0 < i < len(runs) - 1
        if not (inner and run[0].size > runs[i - 1][0].size and run[0].size > runs[i + 1][0].size):
            kept += run
    return kept


def _spread(cuts: Sequence[Cut], count: int, *, with_last: bool) -> list[Cut]:
    if with_last:
        return [cuts[math.ceil((i + 1) * len(cuts) / count) - 1] for i in range(count)]
    return [cuts[(i + 1) * len(cuts) // (count + 1)] for i in range(count)]


# Cutting --------------------------------------------------------------------------------------------------------------

_TO_MAPS: dict[Layout, Callable[[fx.Graph, fx.Node], fx.Node]] = {
    "maps": lambda _, x: x,
    "channels last": lambda g, x: g.call_method("permute", (x, 0, 3, 1, 2)),
    "tokens": lambda g, x: g.call_method("unsqueeze", (g.call_method("transpose", (x, 1, 2)), 3)),
    "row": lambda g, x: g.call_method("unsqueeze", (g.call_method("unsqueeze", (x, 2)), 3)),
}
_FROM_MAPS: dict[Layout, Callable[[fx.Graph, fx.Node], fx.Node]] = {
    "maps": lambda _, x: x,
    "channels last": lambda g, x: g.call_method("permute", (x, 0, 2, 3, 1)),
    "tokens": lambda g, x: g.call_method("transpose", (g.call_method("squeeze", (x, 3)), 1, 2)),
}


def _stage(
    traced: fx.GraphModule, before: Cut, nodes: Sequence[fx.Node], cut: Cut, constant: set[fx.Node]
) -> fx.GraphModule:
    graph = fx.Graph()
    own: dict[fx.Node, fx.Node] = {before.node: _FROM_MAPS[before.layout](graph, graph.placeholder("x"))}

    def copied(node: fx.Node) -> fx.Node:
        if node not in own:
            for one in node.all_input_nodes:
                copied(one)
            own[node] = graph.node_copy(node, lambda one: own[one])
        return own[node]

    for node in nodes:
        copied(node)
    graph.output(_TO_MAPS[cut.layout](graph, own[cut.node]))
    return fx.GraphModule(traced, graph)
