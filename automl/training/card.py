"""The model card and licence text that travel with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects.clock import iso

if TYPE_CHECKING:
    from tenshot.automl.bundle import Manifest


def write(directory: Path, manifest: Manifest, parity: float, *, abstains: bool = False) -> None:
    """`card.md` and `LICENSE.txt` into `directory`. `abstains`: the bundle holds a novelty."""
    (directory / "card.md").write_text(text(manifest, parity, ABSTAINS if abstains else ANSWERS_ALWAYS), "utf-8")
    (directory / "LICENSE.txt").write_text(licence(manifest), "utf-8")


ANSWERS_ALWAYS = """\
The model knows its labels and nothing else: an image of something else still gets the nearest of them."""
ABSTAINS = """\
The model knows its labels and nothing else. An image unlike all training images gets low confidence for every label:
each confidence is multiplied by 1 - novelty, so that those of one image add up to less than 100 where novelty is not 0.
That rests on how far the image lies from the nearest training image in the eyes of the pretrained network: something
else that looks much like them is not noticed. About 5 % of images like the training images lose confidence, too."""


def text(manifest: Manifest, parity: float, limits: str = ANSWERS_ALWAYS) -> str:
    rows = "\n".join(f"| {name} | {manifest.thresholds[name]:.3f} |" for name in manifest.labels)
    params = "\n".join(f"- {key}: {value}" for key, value in sorted(manifest.details.get("params", {}).items()))
    return f"""# {manifest.project}@{manifest.version}

- task: {manifest.task}
- trained: {iso(manifest.created_at)}, seed {manifest.seed}
- dataset version: {manifest.dataset_version} (sha256 {manifest.dataset_sha256})
- base: {manifest.base.name}, {manifest.base.licence}, {manifest.base.source}
- input: float32 [N, 3, {manifest.input.height}, {manifest.input.width}], {manifest.input.fit}
- exported against trained network: largest difference of a score {parity:.1e}

## Labels and thresholds (0–1, chosen on out-of-fold scores)
| label | threshold |
|---|---|
{rows}

## Chosen by the search
{params}

## Limits
{limits}
Metrics with intervals are in the version's report.
"""


def licence(manifest: Manifest) -> str:
    return (
        f"The network in this folder grew from {manifest.base.name} ({manifest.base.source},\n"
        f"sha256 {manifest.base.sha256}), whose weights are under {manifest.base.licence}.\n"
        "That licence applies to the network as well.\n"
    )
