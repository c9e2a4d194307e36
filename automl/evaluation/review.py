"""What is to be said about the data after a training: annotations to look at, what the network cannot see, leaks
between the splits, and what more images would bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenshot.automl.evaluation import growth
from tenshot.automl.evaluation.growth import Forecast
from tenshot.automl.evaluation.suspects import MOST, Suspect

if TYPE_CHECKING:
    from tenshot.datasets.annotations import Entry

SMALLEST_PX = 8.0
"""The finest stride of the detectors: a narrower box has no cell of its own."""


@dataclass(frozen=True)
class SmallBoxes:
    count: int
    of: int
    """Boxes in all."""
    input_px: int
    """Longer side of what the network sees."""
    labels: Mapping[str, int]
    """Label → its small boxes, most first."""


@dataclass(frozen=True)
class Leaks:
    count: int
    """Test images that nearly repeat a training image."""
    of: int
    """Test images in all."""
    examples: Sequence[tuple[str, str]]
    """File names in the test and in the training split."""


@dataclass(frozen=True)
class Review:
    label_errors: Sequence[Suspect] = ()
    """Surest first."""
    unlabeled: Sequence[Suspect] = ()
    small_boxes: SmallBoxes | None = None
    leaks: Leaks | None = None
    growth: Forecast | None = None
    growth_note: str = ""
    """Why there is no forecast."""

    def to_json(self, names: Mapping[str, str]) -> dict[str, Any]:
        """`names`: image → file name."""

        def listed(suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
            return [{**s.to_json(), "name": names.get(s.image, "")} for s in suspects[:MOST]]

        small, leaks = self.small_boxes, self.leaks
        return {
            "label_errors": listed(self.label_errors),
            "label_error_count": len(self.label_errors),
            "unlabeled": listed(self.unlabeled),
            "unlabeled_count": len(self.unlabeled),
            "small_boxes": small and {**vars(small), "labels": dict(small.labels)},
            "leaks": leaks and {**vars(leaks), "examples": [list(pair) for pair in leaks.examples]},
            "growth": self.growth and self.growth.to_json(),
            "growth_note": self.growth_note,
        }

    def sentences(self, names: Mapping[str, str], metric: str) -> list[str]:
        """For people. `names`: image → file name; `metric`: how they call what the forecast is of."""
        found = [*self._wrong(names), *self._unlabeled(), *self._leaks(), *self._small()]
        return [*found, growth.sentence(self.growth, metric)] if self.growth else found

    def _wrong(self, names: Mapping[str, str]) -> list[str]:
        if not self.label_errors:
            return []
        first = self.label_errors[0]
        count = len(self.label_errors)
        shown = f"{names.get(first.image, first.image[:12])}: {described(first)}, {first.sure:.0%} sure"
        one = count == 1
        return [
            f"{count} {'label is' if one else 'labels are'} probably wrong ({'' if one else 'the surest: '}{shown}): "
            f"look at {'it' if one else 'them'} below before adding images."
        ]

    def _unlabeled(self) -> list[str]:
        if not self.unlabeled:
            return []
        named = _listed(Counter(s.suggested for s in self.unlabeled))
        count = len(self.unlabeled)
        return [
            f"{count} {'object has' if count == 1 else 'objects have'} probably no box ({named}): "
            f"draw {'it' if count == 1 else 'them'}, since training takes what has none for background."
        ]

    def _leaks(self) -> list[str]:
        if self.leaks is None or not self.leaks.count:
            return []
        (test, train), count = self.leaks.examples[0], self.leaks.count
        return [
            f"{count} of {self.leaks.of} test images nearly {'repeats' if count == 1 else 'repeat'} a training image "
            f"({test} and {train}), so that the test scores are too good: keep pictures of one scene in one split."
        ]

    def _small(self) -> list[str]:
        small = self.small_boxes
        if small is None or not small.count:
            return []
        return [
            f"{small.count} of {small.of} boxes are narrower than {SMALLEST_PX:.0f} px in the {small.input_px} px that "
            f"the network sees ({_listed(small.labels)}), too small to be found: cut the images into tiles."
        ]


def described(suspect: Suspect) -> str:
    """What is said against an annotation."""
    if suspect.kind == "missing":
        return f"{suspect.suggested} is missing"
    if suspect.kind == "superfluous":
        return f"{suspect.given} is not there"
    if suspect.kind == "unlabeled":
        return f"{suspect.suggested} without a box"
    return f"{suspect.suggested} rather than {suspect.given}"


def small_boxes(entries: Iterable[Entry], input_hw: tuple[int, int]) -> SmallBoxes:
    """Boxes whose shorter side is under 8 px in what the network sees, the whole image fitted into `input_hw`."""
    count: Counter[str] = Counter()
    total = 0
    for entry in entries:
        scale = min(input_hw[0] / entry.height_px, input_hw[1] / entry.width_px)
        for box in entry.boxes:
            total += 1
            if min(box.width * entry.width_px, box.height * entry.height_px) * scale < SMALLEST_PX:
                count[box.label] += 1
    return SmallBoxes(sum(count.values()), total, max(input_hw), dict(count.most_common()))


def _listed(counts: Mapping[str, int], most: int = 4) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rest = len(ordered) - most
    return ", ".join(f"{label} {count}" for label, count in ordered[:most]) + (f" and {rest} more" if rest > 0 else "")
