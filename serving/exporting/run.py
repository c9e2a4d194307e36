"""`tenshot export`: write, check in processes of its own, put in place."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.bundle import read_manifest, verify
from tenshot.automl.predictor import Predictor
from tenshot.datasets.images import decode
from tenshot.projects.errors import ExportError, ImageError
from tenshot.serving.exporting import card as cards
from tenshot.serving.exporting import carrying, parity, pictures, placing
from tenshot.serving.exporting.alone import Alone
from tenshot.serving.exporting.form import Answer, Leaving, Options, Seen
from tenshot.serving.exports import EXPORTS

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

LEAST: tuple[float | None, ...] = (None, 0.0)
"""Every image is asked for at the labels' own thresholds, and for everything."""


@dataclass(frozen=True, slots=True)
class Exported:
    ref: str
    format: str
    folder: Path
    parity: parity.Parity
    bytes: int
    run: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.ref,
            "format": self.format,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "parity": self.parity.to_json(),
            "run": self.run,
        }


def export(
    workspace: Workspace,
    ref: str,
    form_name: str,
    target: Path,
    *,
    force: bool = False,
    options: Options | None = None,
    seen: Seen = lambda what, done, of: None,
) -> Exported:
    """Make the folder `target`: all of it, checked, or none of it.

    Raises UnknownNameError for a format, AlreadyExists unless `target` is free, empty or (with `force`) an earlier
    export, ExportError where the export does not run or does not answer as the version does, BundleError,
    MissingDependencyError where the format needs a library that is not installed.
    """
    form_type = EXPORTS.get(form_name)
    version = workspace.resolve(ref)
    target = target.absolute()
    placing.check_target(target, force=force)
    bundle = workspace.bundle_dir(version.project, version.number)
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    leaving = Leaving(bundle, manifest, options or Options())
    with placing.making(target, force=force) as made, tempfile.TemporaryDirectory(prefix="tenshot-export-") as scratch:
        form = form_type(leaving, made)
        seen("writing", 0, 0)
        form.write()
        technical = _read_card(form.model_dir)
        images, own = pictures.gather(workspace, version, Path(scratch) / "images")
        expected = _answers(bundle, images, seen)
        seen(f"asking the {form_name} export for {len(images)} images", 0, 0)
        got = form.ask(Alone(Path(scratch)), images, LEAST)
        names = [path.name for path in images]
        agreed = parity.compare(names, manifest.thresholds, _pair(expected), _pair(got), own)
        complete = cards.full(technical, form, version, agreed)
        cards.write(made, form.model_dir, complete, manifest)
        form.finish()
        cards.write_top(made, complete)
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        placing.place(made, target)
    return Exported(version.ref, form_name, target, agreed, size, form.how_to_run())


def _read_card(folder: Path) -> dict[str, Any]:
    import json

    card: dict[str, Any] = json.loads((folder / carrying.CARD).read_text("utf-8"))
    return card


def _answers(bundle: Path, images: Sequence[Path], seen: Seen) -> list[list[Answer]]:
    """What the version's endpoint answers."""
    predictor = Predictor.load(bundle, check=False)
    found: list[list[Answer]] = [[] for _ in LEAST]
    for i, path in enumerate(images):
        seen("asking the version", i, len(images))
        try:
            image = decode(path.read_bytes(), name=path.name, max_megapixels=carrying.MAX_MEGAPIXELS)
        except ImageError as error:
            for answers in found:
                answers.append({"labels": [], "error": error.message})
            continue
        row = predictor.look([image])[0]
        for answers, least in zip(found, LEAST, strict=True):
            answers.append(predictor.answer(row, image.shape[:2], min_confidence=least))
    return found


def _pair(answers: list[list[Answer]]) -> tuple[list[Answer], list[Answer]]:
    if len(answers) != len(LEAST) or len({len(one) for one in answers}) != 1:
        raise ExportError("the export did not answer every image")
    return answers[0], answers[1]
