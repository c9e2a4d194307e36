"""What a detection search is about, and what follows from that alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenshot.automl.detectors.examples import Example, truth
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.predictor import look_again, prepare, suppress
from tenshot.automl.search.detection_second import Crops
from tenshot.automl.search.detection_space import Space
from tenshot.automl.search.score_scale import sureness
from tenshot.automl.search.suppressions import Way
from tenshot.automl.second_look import SecondLook


@dataclass(frozen=True)
class Problem:
    examples: Sequence[Example]
    labels: tuple[str, ...]
    weights: Path
    """The base network's ONNX file."""
    seed: int
    threads: int
    family: Any = field(repr=False)
    """A DetectorFamily."""
    rules: Space = field(repr=False)
    crops: Crops | None = field(default=None, repr=False)
    """Where a second look may pay."""

    @property
    def groups(self) -> int:
        return len({e.group or e.image for e in self.examples})

    @property
    def fingerprint(self) -> str:
        """Of images, boxes, labels and settings."""
        rows = [(e.image, e.group, [(b.label, *b.xyxy) for b in e.boxes]) for e in self.examples]
        text = json.dumps([self.labels, rows, self.seed, self.rules.model_dump()])
        return hashlib.sha256(text.encode()).hexdigest()

    def folds(self, count: int, again: int = 0) -> list[Any]:
        """Splits by the rarest label of each image; groups stay together. `again` counts fresh splits."""
        from tenshot.automl.search.folds import folds

        counts = {name: sum(any(b.label == name for b in e.boxes) for e in self.examples) for name in self.labels}
        rarest = [min({b.label for b in e.boxes}, key=lambda n: (counts[n], n), default="") for e in self.examples]
        strata = [self.labels.index(name) if name else len(self.labels) for name in rarest]
        names = [e.group or e.image for e in self.examples]
        index = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return folds(strata, [index[n] for n in names], count=count, seed=self.seed + again)

    def answers(
        self, detector: Any, example: Example, ways: Sequence[Way], second: SecondLook | None = None
    ) -> list[Boxes]:
        """The boxes that a detector finds in an image, for each way of asking it. Without `second`, nobody looks
        twice."""
        network, image = self.family.network(detector), example.pixels()
        outputs: dict[tuple[int, bool], Any] = {}
        found = []
        for way in ways:
            side, again = way.side(detector.image_size), way.second and second is not None
            spec = self.family.input_spec(side)
            if (side, False) not in outputs:
                outputs[side, False] = network(prepare(image, spec)[None])[0]
            if again and second and (side, True) not in outputs:
                outputs[side, True] = look_again(outputs[side, False], image, spec, second)
            found.append(suppress(outputs[side, again], image.shape[:2], spec, way.suppression))
        return found

    def sureness(self, detector: Any, examples: Sequence[Example]) -> float | None:
        """How sure a detector is of boxes that it was trained on; see `score_scale`."""
        truths = [truth(e, self.labels) for e in examples]
        return sureness(truths, [self.answers(detector, e, [Way()])[0] for e in examples])

    def outcome(self, predictions: Mapping[int, Boxes]) -> DetectionOutcome:
        """Of the images whose indices are given."""
        rows = sorted(predictions)
        return DetectionOutcome(
            self.labels,
            tuple(self.examples[i].image for i in rows),
            tuple(truth(self.examples[i], self.labels) for i in rows),
            tuple(predictions[i] for i in rows),
        )
