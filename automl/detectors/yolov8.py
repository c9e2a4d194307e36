"""YOLOv8n and what else Ultralytics publishes: the only module that knows Ultralytics.

The weights of our own base come as an ONNX file whose batch norms are folded into the convolutions. `load_base` unfolds
them into a trainable network that computes the same function, `train` drives Ultralytics' own trainer on images in
memory, and `export` writes what serving needs. No Ultralytics type leaves this module.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import math
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.bundle import Input
from tenshot.automl.detectors import pasting, unfolding
from tenshot.automl.detectors.arguments import arguments
from tenshot.automl.detectors.examples import Example, centre_xywh
from tenshot.automl.detectors.family import DetectorFamily
from tenshot.automl.detectors.process_state import restored
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.predictor import RGB, Network, prepare, resize
from tenshot.projects.errors import TrainingError, WeightsError

ARCHITECTURE = "yolov8n.yaml"
PUBLISHED_NAME = re.compile(r"yolov5[nsmlx]u|yolov8[nsmlx]|yolov9[tsmce]|yolov10[nsmblx]|yolo(11|12|26)[nsmlx]")
"""Detectors with the head that this module trains; not those for other tasks or with words for classes."""
CLASS_CONVOLUTION = re.compile(r"\.cv3\.0\.2\.weight$")
BASE_CLASSES = 18
WIDEST_SHARED_BRANCH = 64
"""Up to this many labels the class branch is as wide as the base's, so that only its last convolution is new."""
OPSET = 17
KEPT_BYTES = 2 << 30
"""Resized training images are kept in memory up to this size."""

OnEpoch = Callable[[int, int, dict[str, float]], None]
"""epoch (1-based), epochs in all, mean losses of the epoch; may raise to stop."""


@dataclass
class Detector:
    labels: tuple[str, ...]
    image_size: int
    """Side of the square input that it was made for, pixels."""
    model: Any = field(repr=False)
    """The torch module; private to the detector's own module."""
    published: tuple[str, int] | None = None
    """Of a detector that grew from published weights: the name they have, and how many classes they had."""


def input_spec(image_size: int) -> Input:
    """How images enter this family: letterboxed, values 0…1."""
    return Input(image_size, image_size, "letterbox")


# Base weights -----------------------------------------------------------------------------------------------------


def load_base(
    onnx_path: Path, labels: Sequence[str], *, images: Sequence[RGB], image_size: int, seed: int = 0
) -> Detector:
    """The pretrained network with a new last class convolution for `labels`, drawn from `seed`.

    `images` (some of the training images) give the batch norms their statistics. Raises WeightsError if the file is not
    the network that it should be.
    """
    base = _unfolded(onnx_path)
    _recover_statistics(base, images, image_size)
    with _torch().random.fork_rng(devices=[]):
        _torch().manual_seed(seed)
        return Detector(tuple(labels), image_size, _with_classes(base, len(labels)))


def base_network(onnx_path: Path, images: Sequence[RGB] = (), *, image_size: int = 320) -> Detector:
    """The pretrained network with its own classes; with `images`, after its batch norms got their statistics."""
    base = _unfolded(onnx_path)
    if len(images):
        _recover_statistics(base, images, image_size)
    return Detector(tuple(str(i) for i in range(BASE_CLASSES)), image_size, base)


def _unfolded(onnx_path: Path) -> Any:
    model = _empty_network(BASE_CLASSES)
    unfolding.fill(model, onnx_path)
    return model.eval()


def _empty_network(classes: int, architecture: str = ARCHITECTURE) -> Any:
    _ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    with _quiet():
        return DetectionModel(architecture, nc=classes, verbose=False)


def _with_classes(base: Any, classes: int) -> Any:
    """The base's weights under a new last class convolution (under a new class branch above 64 labels)."""
    model = _empty_network(classes)
    state, own = base.state_dict(), model.state_dict()
    last = tuple(f".cv3.{level}.2." for level in range(3))
    carried = {k: v for k, v in state.items() if not any(part in k for part in last) and own[k].shape == v.shape}
    missing = [k for k in own if k not in carried and not any(part in k for part in last)]
    if missing and classes <= WIDEST_SHARED_BRANCH:
        raise WeightsError(f"{len(missing)} tensors of the detector do not fit, the first is {missing[0]}")
    model.load_state_dict(carried, strict=False)
    return model.eval()


# Published weights -------------------------------------------------------------------------------------------------


def published() -> dict[str, str]:
    """Name → address of every detector that Ultralytics publishes and this module can train."""
    _ultralytics()
    from inspect import signature

    from ultralytics.utils import downloads

    release = signature(downloads.attempt_download_asset).parameters["release"].default
    folder = f"https://github.com/{downloads.GITHUB_ASSETS_REPO}/releases/download/{release}"
    return {name: f"{folder}/{name}.pt" for name in downloads.GITHUB_ASSETS_STEMS if PUBLISHED_NAME.fullmatch(name)}


def published_family(name: str) -> DetectorFamily:
    """The same family on other weights: what `load_base` takes is the file of the published checkpoint."""
    return replace(FAMILY, name=f"ultralytics:{name}", load_base=partial(_load_published, name))


def published_network(name: str, weights: Path) -> Detector:
    """With the classes of the checkpoint. Raises WeightsError if the file is not of this network."""
    from tenshot.automl.detectors import checkpoint

    found = checkpoint.read(weights)
    last = [tensor for key, tensor in found.tensors.items() if CLASS_CONVOLUTION.search(key)]
    classes = len(last[0]) if last else 0
    model = _empty_network(classes or 1, _architecture(name))
    try:
        model.load_state_dict(found.tensors)
    except RuntimeError:
        raise WeightsError(
            f"{weights.name} is not a checkpoint of {name}", hint="the file is damaged or of another model"
        ) from None
    labels = tuple(found.names.get(i, str(i)) for i in range(classes))
    return Detector(labels, 640, _one_headed(model).eval(), (name, classes))


def _load_published(
    name: str, weights: Path, labels: Sequence[str], *, images: Sequence[RGB], image_size: int, seed: int = 0
) -> Detector:
    """As `load_base`. A label that the base knows by the same name keeps what the base learned about it; `images` are
    not looked at, since a checkpoint has its statistics."""
    from tenshot.automl.detectors.checkpoint import same_names

    base = published_network(name, weights)
    with _torch().random.fork_rng(devices=[]):
        _torch().manual_seed(seed)
        _put_classes(base.model, len(labels), kept=same_names(base.labels, labels))
    return Detector(tuple(labels), image_size, base.model.eval(), base.published)


def _grown_from(name: str, base_classes: int, classes: int) -> Any:
    """The network that `_load_published` makes, with any weights."""
    model = _one_headed(_empty_network(base_classes, _architecture(name)))
    _put_classes(model, classes, kept={})
    return model


def _architecture(name: str) -> str:
    """YOLOv5's weights with the new head are called `yolov5nu`, its architecture `yolov5n`."""
    return f"{name.removesuffix('u')}.yaml"


def _one_headed(model: Any) -> Any:
    """Without the second head of networks that can do without suppression: ten images train one head, and the bundle
    suppresses by itself."""
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = False
        head.one2one_cv2 = head.one2one_cv3 = None
    return model


def _put_classes(model: Any, classes: int, kept: dict[int, int]) -> None:
    """New last class convolutions, whose first scores are low everywhere; some rows kept from the old ones."""
    torch, head = _torch(), model.model[-1]
    for branch, stride in zip(head.cv3, head.stride.tolist(), strict=True):
        old = branch[-1]
        new = torch.nn.Conv2d(old.in_channels, classes, 1)
        with torch.no_grad():
            new.bias.fill_(math.log(5 / classes / (640 / stride) ** 2))
            for row, known in kept.items():
                new.weight[row], new.bias[row] = old.weight[known], old.bias[known]
        branch[-1] = new
    head.nc, head.no = classes, classes + 4 * head.reg_max
    model.nc, model.names = classes, dict(enumerate(map(str, range(classes))))
    model.yaml["nc"] = classes


def _recover_statistics(model: Any, images: Sequence[RGB], image_size: int) -> None:
    unfolding.recover_statistics(model, (prepare(image, input_spec(image_size)) for image in images))


# Training ---------------------------------------------------------------------------------------------------------


def train(
    detector: Detector,
    examples: Sequence[Example],
    recipe: Recipe,
    *,
    seed: int,
    threads: int = 0,
    on_epoch: OnEpoch | None = None,
    check: Callable[[], None] | None = None,
    deadline: float | None = None,
) -> Detector:
    """A new detector, trained on `examples`; `detector` stays as it was.

    `check` is called before every step and may raise to cancel. `deadline` is a `time.monotonic()` after which no epoch
    begins; where not all epochs fit before it, the schedule is shortened. Deterministic for one seed, machine and
    number of threads where all epochs fit. Raises TrainingError if the loss is no longer finite.
    """
    if not examples:
        raise TrainingError("a detector cannot be trained on no images", hint="import labeled images first")
    _ultralytics()
    with restored(), _quiet(), tempfile.TemporaryDirectory(prefix="tenshot-detector-") as folder:
        run = _run_class()(
            {"model": ARCHITECTURE, **arguments(recipe, len(examples), seed, folder)},
            detector=detector,
            examples=examples,
            recipe=recipe,
            on_epoch=on_epoch,
            check=check,
            deadline=deadline,
        )
        if threads:
            _torch().set_num_threads(threads)
        run.train()
        return replace(detector, image_size=recipe.image_size, model=run.result().eval())


@cache
def _run_class() -> Any:
    """Ultralytics' detection trainer on images in memory. Made on first use, since its base class is heavy."""
    from types import SimpleNamespace

    import albumentations
    import torch
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace
    from ultralytics.utils.torch_utils import ModelEMA

    class Images(YOLODataset):
        """Examples as Ultralytics' dataset: letterbox-sized images are kept in memory, nothing touches the disk."""

        def __init__(self, examples: Sequence[Example], labels: Sequence[str], recipe: Recipe, **options: Any) -> None:
            self.examples = examples
            self.recipe = recipe
            self.index = {name: i for i, name in enumerate(labels)}
            super().__init__(img_path="", **options)
            self.keep = len(examples) * 3 * self.imgsz**2 <= KEPT_BYTES
            self.buffer = list(range(len(examples)))  # any image may join a mosaic
            self.rng = np.random.default_rng(options["hyp"].seed)
            self.cuttings = self._cuttings() if recipe.paste else []

        def get_img_files(self, img_path: str) -> list[str]:
            return [f"{example.image}.png" for example in self.examples]

        def get_labels(self) -> list[dict[str, Any]]:
            return [self._label(i) for i in range(len(self.examples))]

        def _label(self, i: int) -> dict[str, Any]:
            example = self.examples[i]
            classes = [[self.index[box.label]] for box in example.boxes]
            return {
                "im_file": self.im_files[i],
                "shape": (0, 0),
                "cls": np.array(classes, np.float32).reshape(-1, 1),
                "bboxes": centre_xywh(example),
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }

        def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> tuple[Any, Any, Any]:
            if self.ims[i] is not None:
                return self.ims[i], self.im_hw0[i], self.im_hw[i]
            image = self.examples[i].pixels()
            scale = self.imgsz / max(image.shape[:2])
            height, width = (max(1, round(side * scale)) for side in image.shape[:2])
            small = np.ascontiguousarray(resize(image, width, height)[..., ::-1])  # its own order is BGR
            if self.keep:
                self.ims[i], self.im_hw0[i], self.im_hw[i] = small, image.shape[:2], (height, width)
            return small, image.shape[:2], (height, width)

        def _cuttings(self) -> list[pasting.Cutting]:
            chosen = pasting.chosen([row["cls"][:, 0] for row in self.labels], self.rng)
            return [
                cutting
                for i, boxes in chosen.items()
                for cutting in pasting.cuttings(
                    self.load_image(i)[0], self.labels[i]["bboxes"][boxes], self.labels[i]["cls"][boxes, 0]
                )
            ]

        def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
            if self.cuttings and self.rng.random() < self.recipe.paste:
                drawn = pasting.pasted(label["img"], label["bboxes"], label["cls"], self.cuttings, self.rng)
                label["img"], label["bboxes"], label["cls"] = drawn
            complete: dict[str, Any] = super().update_labels_info(label)
            return complete

        def build_transforms(self, hyp: IterableSimpleNamespace) -> Any:
            # An explicit list replaces Ultralytics' own (blur, grey, CLAHE at 1 % each).
            hyp.augmentations = [albumentations.RandomRotate90(p=self.recipe.rotate90)] if self.recipe.rotate90 else []
            return super().build_transforms(hyp)

    class FastModel(DetectionModel):
        """The same network, trained with channels last (1.2 times as fast on a CPU) and, where the CPU multiplies
        bfloat16 by itself, in mixed precision (1.6 times as fast). The loss and the weights stay in float32."""

        def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.training:
                return super().predict(x, *args, **kwargs)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_multiplies_bfloat16()):
                raw = super().predict(x.contiguous(memory_format=torch.channels_last), *args, **kwargs)
            return {k: [part.float() for part in v] if isinstance(v, list) else v.float() for k, v in raw.items()}

    # The name must not hold the word "Trainer": Ultralytics would import every experiment tracker that is installed.
    class Run(DetectionTrainer):
        epochs: int  # of the schedule as it stands

        def __init__(self, overrides: dict[str, Any], **mine: Any) -> None:
            self.mine = SimpleNamespace(**mine)
            super().__init__(overrides=overrides)
            self.model = copy.deepcopy(self.mine.detector.model)
            self.model.__class__ = FastModel

        def result(self) -> Any:
            """The averaged network, an ordinary one again."""
            model = self.ema.ema.to(memory_format=torch.contiguous_format)
            model.__class__, model.criterion = DetectionModel, None
            return model

        def run_callbacks(self, event: str) -> None:
            if event == "on_train_batch_start" and self.mine.check:
                self.mine.check()
            if event == "on_train_epoch_start":
                self.mine.began = getattr(self.mine, "began", time.monotonic())
                thaw = self.mine.recipe.with_(epochs=self.epochs).thaw_epoch
                if thaw is not None and self.epoch >= thaw:
                    self._thaw()
            if event == "on_train_epoch_end":
                self._epoch_ended()

        def _thaw(self) -> None:
            """From now on everything learns; the optimiser has held the frozen weights all along. May be repeated."""
            self.freeze_layer_names = [".dfl"]
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad = ".dfl" not in name

        def _epoch_ended(self) -> None:
            losses = {name: float(value) for name, value in self.tloss.items()}
            if not all(np.isfinite(list(losses.values()))):
                raise TrainingError("the loss is not finite any more", hint="train again with a smaller learning rate")
            if self.mine.on_epoch:
                self.mine.on_epoch(self.epoch + 1, self.epochs, losses)
            if self.mine.deadline is not None:
                self._keep_to(self.mine.deadline)

        def _keep_to(self, deadline: float) -> None:
            """As many epochs as fit, with the learning rate falling to its end over them: a schedule that is cut off
            in the middle is worth much less than a shorter one."""
            now, done = time.monotonic(), self.epoch + 1
            more = max(0, int((deadline - now) * done / max(now - self.mine.began, 1e-9)))
            epochs = min(self.mine.recipe.epochs, done + more)
            if epochs != self.epochs:
                self.epochs = epochs
                self._setup_scheduler()
                self.scheduler.last_epoch = self.epoch

        def get_dataset(self) -> dict[str, Any]:
            names = dict(enumerate(self.mine.detector.labels))
            return {"train": "", "val": "", "names": names, "nc": len(names), "channels": 3}

        def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
            mine, args = self.mine, self.args
            options = {"imgsz": args.imgsz, "hyp": args, "batch_size": batch, "data": self.data}
            return Images(mine.examples, mine.detector.labels, mine.recipe, **options)

        def _setup_train(self) -> None:
            super()._setup_train()
            self.ema = ModelEMA(self.model, decay=self.mine.recipe.ema_decay, tau=self.mine.recipe.ema_tau)

        def get_validator(self) -> Any:
            return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

        def validate(self) -> tuple[dict[str, float], None]:
            return {}, None

        def save_metrics(self, metrics: dict[str, float]) -> None:
            pass

        def save_model(self) -> bool:
            return False

        def final_eval(self) -> None:
            pass

    return Run


def save(detector: Detector, path: Path) -> None:
    """Write the weights, so that the file is whole or not there."""
    partial = path.with_name(f"partial-{path.name}")
    state = {"labels": list(detector.labels), "image_size": detector.image_size, "published": detector.published}
    _torch().save({**state, "state": detector.model.state_dict()}, partial)
    partial.replace(path)


def load(path: Path) -> Detector:
    """What `save` wrote. Raises WeightsError if it is something else."""
    try:
        kept = _torch().load(path, weights_only=True)
        labels, grew_from = tuple(kept["labels"]), kept.get("published")
        model = (
            _empty_network(len(labels)) if grew_from is None else _grown_from(grew_from[0], grew_from[1], len(labels))
        )
        model.load_state_dict(kept["state"])
    except Exception as error:  # what a damaged file raises is anybody's guess, down to AssertionError
        raise WeightsError(f"{path} holds no trained detector: {error}", hint="train again") from None
    return Detector(labels, int(kept["image_size"]), model.eval(), grew_from)


# Answers and files ------------------------------------------------------------------------------------------------


def network(detector: Detector) -> Network:
    """The torch network as a function [N, 3, H, W] → [N, 4 + C, A], for out-of-fold predictions and parity checks."""
    torch = _torch()
    model = detector.model.eval()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(batch))[0].numpy(), np.float32)

    return run


def export(detector: Detector, directory: Path, image_size_hw: tuple[int, int]) -> None:
    """Write model.onnx, model.xml and model.bin: float32 [N, 3, H, W] RGB 0…1 → [N, 4 + C, A], N free, no suppression.

    Boxes are centre x, centre y, width, height in input pixels; scores are 0…1.
    """
    import onnx

    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    import openvino

    torch = _torch()
    directory.mkdir(parents=True, exist_ok=True)
    model = _exportable(detector)
    example = torch.zeros(2, 3, *image_size_hw)
    path = directory / "model.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        # The tracing exporter is announced to go, but it is the one whose graph was checked in both runtimes. What it
        # warns about while tracing, the anchor grid, is meant to be a constant of the exported size.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        model(example)  # builds the anchor grid for this size
        torch.onnx.export(
            model,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["output"],
            dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
        )
    onnx.checker.check_model(str(path))
    openvino.save_model(openvino.convert_model(str(path)), directory / "model.xml", compress_to_fp16=False)


def _exportable(detector: Detector) -> Any:
    """A copy with batch norms folded again and the head in its export form."""
    model = copy.deepcopy(detector.model).eval().float()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with _quiet():
        model = model.fuse(verbose=False)
    head = model.model[-1]
    head.export, head.dynamic, head.format = True, False, "onnx"
    return model


FAMILY = DetectorFamily("yolov8n", load_base, train, network, export, input_spec, save, load)


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it; emulated it would be slower than float32."""
    torch = _torch()
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(capable and torch.ops.mkldnn._is_mkldnn_bf16_supported())


# Keeping Ultralytics to itself ------------------------------------------------------------------------------------


def _torch() -> Any:
    import torch

    return torch


@cache
def _ultralytics() -> Any:
    """Import it offline, silent, with its settings in a folder of this process, and take back what it changes."""
    import cv2

    folder = tempfile.mkdtemp(prefix="tenshot-ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("YOLO_CONFIG_DIR", folder)
    os.environ.setdefault("YOLO_OFFLINE", "1")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    threads, printing = cv2.getNumThreads(), np.get_printoptions()
    import ultralytics

    cv2.setNumThreads(threads)
    np.set_printoptions(**printing)
    _torch().set_printoptions(profile="default")
    return ultralytics


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ultralytics' logger says nothing below an error."""
    import logging

    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
