"""Candidates of the second kind: the last stages of the backbone, trained together with a head."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenshot.automl.networks import Classifier
from tenshot.automl.predictor import FITS, RGB, prepare
from tenshot.automl.search.frozen import backbone_of, members
from tenshot.automl.training.export import to_openvino
from tenshot.automl.training.finetune import BATCH, Curve, Schedule, Stem, tail_logits, train_tail

if TYPE_CHECKING:
    from tenshot.automl.bundle import Input
    from tenshot.automl.heads import Floats
    from tenshot.automl.search.folds import Fold
    from tenshot.automl.search.frozen import Frozen

KEPT_BYTES = 1_000_000_000
"""Resized training images are kept in memory up to this size."""
SAFETY = 1.1
STEM_FORMAT = 1
SMALL_IMAGE, SMALL_INPUT = 128, 160
"""Images of up to so many pixels on their longer side (the median) count as small, and get an input of this side."""
LOOKED_AT = 32
"""Images whose size is looked at."""


@dataclass
class Pace:
    """Seconds, of one step on a full batch, and of looking at one image."""

    step_s: float
    look_s: float


@dataclass
class Tuning:
    """Scores and fits fine-tuned networks of one backbone.

    params: of a frozen candidate, for the backbone and for fitted heads.
    """

    frozen: Frozen
    params: Mapping[str, Any]
    folds: Sequence[Fold]
    seed: int
    _images: dict[int, _Resized] = field(default_factory=dict)
    _stems: dict[tuple[int, int], Stem] = field(default_factory=dict)
    _paces: dict[tuple[int, int], Pace] = field(default_factory=dict)
    _head_s: float = 0.0
    """Seconds of fitting a head to the frozen features, as it was the last time."""

    @property
    def backbone(self) -> str:
        """Of several that serve a head together, the first."""
        return backbone_of(self.params).split("+")[0]

    def spec(self, size: int) -> Input:
        return replace(self.frozen.extractor(self.backbone).spec, height=size, width=size)

    def suited_size(self, sizes: Sequence[int], wanted: int) -> int:
        """`wanted`, or less where the images themselves are small: enlarging them further shows nothing new."""
        sides = [max(picture.pixels().shape[:2]) for picture in list(self.frozen.data.pictures)[:LOOKED_AT]]
        largest = SMALL_INPUT if float(np.median(sides)) <= SMALL_IMAGE else max(sizes)
        return max((size for size in sizes if size <= min(wanted, largest)), default=min(sizes))

    # Time -----------------------------------------------------------------------------------------------------------

    def estimate(self, params: Mapping[str, Any]) -> float:
        """Expected seconds for scoring these parameters on the folds and for fitting them on all images."""
        return self.scoring_s(params) + self.final_s(params)

    def scoring_s(self, params: Mapping[str, Any]) -> float:
        """Of it, the folds."""
        schedule = Schedule.of(params)
        pace = self._pace(schedule)
        steps = sum(schedule.steps_for(len(train)) for train, _ in self.folds)
        looked = sum(len(held) for _, held in self.folds)
        return SAFETY * (pace.step_s * steps + pace.look_s * looked + self._heads_s(schedule, len(self.folds)))

    def final_s(self, params: Mapping[str, Any]) -> float:
        schedule = Schedule.of(params)
        steps = schedule.steps_for(len(self.frozen.data.pictures))
        return SAFETY * (self._pace(schedule).step_s * steps + self._heads_s(schedule, 1))

    def knows_pace_of(self, params: Mapping[str, Any]) -> bool:
        """Whether an estimate needs no training of a batch or two first."""
        return any(start == params["start"] for start, _ in self._paces)

    def _heads_s(self, schedule: Schedule, count: int) -> float:
        return self._head_s * count if schedule.head == "fitted" else 0.0

    def _pace(self, schedule: Schedule) -> Pace:
        """Of another size it is known in proportion to its area: measuring each would take longer than it helps."""
        key = (schedule.start, schedule.size)
        if key not in self._paces:
            others = [size for start, size in self._paces if start == schedule.start]
            if others:
                known, area = self._paces[schedule.start, others[0]], (schedule.size / others[0]) ** 2
                return Pace(known.step_s * area, known.look_s * area)
            self._paces[key] = self._measured(schedule)
        return self._paces[key]

    def _measured(self, schedule: Schedule) -> Pace:
        """One batch to warm up and one that counts, on a throw-away network."""
        few = list(islice(cycle(range(min(4, len(self.frozen.data.pictures)))), BATCH))
        probe, network = replace(schedule, lr=1e-6, mixup=0.0, ema=False), self._fresh(schedule, np.array(few[:1]))
        self._train(network, probe, few, 0, epochs=1)
        began = monotonic()
        self._train(network, probe, few, 0, epochs=1)
        step_s, began = monotonic() - began, monotonic()
        self._look(network, schedule, few)
        return Pace(step_s, (monotonic() - began) / BATCH)

    def _learn_pace(self, schedule: Schedule, images: int, seconds: float) -> None:
        """A real fit says more than the probe."""
        pace = self._pace(schedule)
        self._paces[schedule.start, schedule.size] = replace(pace, step_s=seconds / schedule.steps_for(images))

    # Scores ---------------------------------------------------------------------------------------------------------

    def fold_logits(self, params: Mapping[str, Any]) -> Generator[tuple[int, NDArray[np.int64], Floats]]:
        """For each fold its number, the images that were held out, and their logits."""
        schedule = Schedule.of(params)
        for number, (train, held) in enumerate(self.folds):
            network = self._fresh(schedule, train)
            self._train(network, schedule, train.tolist(), self.seed + number)
            yield number, held, self._look(network, schedule, held.tolist())

    def out_of_fold(self, params: Mapping[str, Any]) -> Floats:
        """[N, C]; zero for images that no fold holds out."""
        logits = np.zeros(self.frozen.data.truth.shape)
        for _, held, found in self.fold_logits(params):
            logits[held] = found
        return logits

    def final(self, params: Mapping[str, Any]) -> tuple[Classifier, Curve]:
        everything, schedule = list(range(len(self.frozen.data.pictures))), Schedule.of(params)
        network = self._fresh(schedule, np.array(everything))
        curve = self._train(network, schedule, everything, self.seed)
        return network.to(memory_format=torch.contiguous_format), curve

    def _train(self, network: Classifier, schedule: Schedule, rows: list[int], seed: int, epochs: int = 0) -> Curve:
        images, began = self._resized(schedule.size), monotonic()
        curve = train_tail(
            network, self._stem(schedule.start, schedule.size), _Chosen(images, rows), self.frozen.data.truth[rows],
            spec=self.spec(schedule.size), schedule=schedule, exclusive=self.frozen.data.exclusive, seed=seed,
            check=self.frozen.check, epochs=epochs,
        )  # fmt: skip
        if not epochs:
            self._learn_pace(schedule, len(rows), monotonic() - began)
        return curve

    def _look(self, network: Classifier, schedule: Schedule, rows: list[int]) -> Floats:
        """[N, C] logits of images as they are."""
        spec, images = self.spec(schedule.size), self._resized(schedule.size)
        stem, found = self._stem(schedule.start, schedule.size), []
        for first in range(0, len(rows), BATCH):
            inputs = np.stack([prepare(images[row], spec) for row in rows[first : first + BATCH]])
            found.append(tail_logits(network, stem, inputs, schedule.start))
        return np.concatenate(found)

    def _fresh(self, schedule: Schedule, train: NDArray[np.int64]) -> Classifier:
        backbone = self.frozen.extractor(self.backbone).backbone()
        last = backbone.depth - 1
        if schedule.head == "zero":
            width = self._width(last)
            weight, bias = (
                torch.zeros(self.frozen.data.truth.shape[1], width),
                torch.zeros(len(self.frozen.data.labels)),
            )
            return Classifier(backbone, [last], weight, bias)
        recipe = {
            "backbone": self.backbone, "policy": members(self.params)[0]["policy"], "taps": str(last),
            "head": "logistic", "strength": 1.0, "standardise": False,
        }  # fmt: skip
        began = monotonic()
        head = self.frozen.fit_on(recipe, train)
        if len(train) > 1:  # else it is the one of a probe
            self._head_s = monotonic() - began
        return Classifier(backbone, [last], torch.from_numpy(head.weight).float(), torch.from_numpy(head.bias).float())

    def _width(self, last: int) -> int:
        low, high = self.frozen.extractor(self.backbone).slices[last]
        return high - low

    # Inputs ---------------------------------------------------------------------------------------------------------

    def _resized(self, size: int) -> _Resized:
        if size not in self._images:
            self._images = {size: _Resized(self.frozen, self.spec(size))}  # one size at a time in memory
        return self._images[size]

    def _stem(self, start: int, size: int) -> Stem:
        if (start, size) not in self._stems:
            self._stems[start, size] = self._compiled(start, size)
        return self._stems[start, size]

    def _compiled(self, start: int, size: int) -> Stem:
        import openvino

        if start == 0:
            return lambda inputs: inputs
        extractor = self.frozen.extractor(self.backbone)
        name = f"{extractor.row.sha256[:12]}-stem{start}-{size}-{STEM_FORMAT}.xml"
        path = self.frozen.workspace.cache / "compiled" / name
        if not path.is_file():
            stages = torch.nn.Sequential(*list(extractor.backbone().stages)[:start]).eval()
            to_openvino(stages, self.spec(size), path)
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: np.array(model(inputs)[0], np.float32)


class _Resized(Sequence[RGB]):
    """The training images at the input's size, kept in memory if they fit."""

    def __init__(self, frozen: Frozen, spec: Input) -> None:
        self.pictures, self.spec = frozen.data.pictures, spec
        self.keep = len(self.pictures) * 3 * spec.height * spec.width <= KEPT_BYTES
        self.kept: dict[int, RGB] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        if index in self.kept:
            return self.kept[index]
        image = FITS[self.spec.fit](self.pictures[index].pixels(), self.spec)
        if self.keep:
            self.kept[index] = image
        return image


class _Chosen(Sequence[RGB]):
    def __init__(self, images: _Resized, rows: Sequence[int]) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.images[self.rows[index]]
