"""The card of an export, for machines (card.json) and for people (README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.bundle import sha256_of
from tenshot.projects.clock import iso, now
from tenshot.serving.endpoints.bento import tenshot_version
from tenshot.serving.exporting import carrying

if TYPE_CHECKING:
    from tenshot.automl.bundle import Manifest
    from tenshot.projects.records import ModelVersion
    from tenshot.serving.exporting.form import Form
    from tenshot.serving.exporting.parity import Parity

README = "README.md"
CODE_LICENCE = "AGPL-3.0-or-later"


def full(technical: dict[str, Any], form: Form, version: ModelVersion, parity: Parity) -> dict[str, Any]:
    """What predict.py reads, and where the model comes from, how good it is, and what the check found."""
    manifest, details = form.leaving.manifest, version.details
    return technical | {
        "export": {"format": form.name, "made_at": iso(now()), "tenshot": tenshot_version()},
        "trained_at": iso(manifest.created_at),
        "data": {"version": manifest.dataset_version, "sha256": manifest.dataset_sha256},
        "base": {"name": manifest.base.name, "source": manifest.base.source, "sha256": manifest.base.sha256},
        "licence": {"network": manifest.base.licence, "code": CODE_LICENCE},
        "metrics": {
            "measured_on": details.get("measured_on"),
            "images": details.get("images"),
            "primary": details.get("primary"),
            "values": details.get("metrics", {}),
            "intervals_95": details.get("intervals", {}),
            "unproven": details.get("unproven", []),
        },
        "parity": parity.to_json(),
        "server": form.observed.to_json() if form.observed.start_s else None,
        "run": form.how_to_run(),
    }


def write(folder: Path, model_dir: Path, card: dict[str, Any], manifest: Manifest) -> None:
    """card.json beside the model, README.md in the export's folder."""
    carrying.write_card(model_dir, card)
    (folder / README).write_text(readme(card, manifest), "utf-8")


def write_top(folder: Path, card: dict[str, Any]) -> None:
    """The export's own card.json, last of all: the same, with the sha256 of every file."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / carrying.CARD]
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    carrying.write_card(folder, card | {"files": files})


def readme(card: dict[str, Any], manifest: Manifest) -> str:
    """What this is, how to run it, how good it is, and what it may be used for."""
    lines = "\n".join(card["run"])
    labels = "\n".join(f"| {_cell(name)} | {100 * card['thresholds'][name]:.1f} |" for name in card["labels"])
    return f"""# {card["model"]}

{_ABOUT[str(card["task"])]} It was trained with Tenshot and needs none of it: everything is in this folder.

```
{lines}
```

Answers are `{{"labels": [{{"name", "confidence", "box"}}]{_novelty(card)}}}`, best first: confidences are 0 to 100,
boxes ratios of the upright image. Without `min_confidence` a label counts from its own threshold on.

| label | threshold |
|---|---|
{labels}

## How good it is

{_metrics(card["metrics"])}

## It answers as it did in Tenshot

{_parity(card)}

## Where it comes from

- dataset version {card["data"]["version"]}, sha256 {card["data"]["sha256"]}; trained {card["trained_at"]}
- grown from {manifest.base.name} ({manifest.base.source}); its licence, {manifest.base.licence}, applies to the network
- `predict.py` and the other code in this folder are part of Tenshot, {CODE_LICENCE}; keep them as they are, or write
  your own by what card.json says
- exported as {card["export"]["format"]} at {card["export"]["made_at"]} by Tenshot {card["export"]["tenshot"]}
"""


_ABOUT = {
    "classification": "A classifier: one label for each image.",
    "multilabel": "A classifier: any number of labels for each image.",
    "detection": "A detector: labels with boxes.",
}


def _novelty(card: dict[str, Any]) -> str:
    return ', "novelty"' if card["novelty"] else ""


def _metrics(metrics: dict[str, Any]) -> str:
    if not metrics["values"]:
        return "Nothing was measured; the version has no labeled images that it was not trained on."
    rows = []
    for name, value in metrics["values"].items():
        low_high = metrics["intervals_95"].get(name)
        interval = f"{low_high[0]:.3f} – {low_high[1]:.3f}" if low_high else ""
        rows.append(f"| {name} | {value:.3f} | {interval} |" if value is not None else f"| {name} | – | |")
    head = f"Measured on: {metrics['measured_on']}, {metrics['images']} images.\n\n| metric | value | 95 % interval |\n"
    return head + "|---|---|---|\n" + "\n".join(rows)


def _parity(card: dict[str, Any]) -> str:
    found = card["parity"]
    return (
        f"Checked on {found['images']} images ({found['own_images']} of its dataset, the others made for it), "
        f"{found['labels']} labels, in a process without Tenshot. Largest difference of a confidence "
        f"{found['largest_confidence_difference']:.4f} of 100, of a box's edge "
        f"{found['largest_box_difference']:.6f} of the image's side; "
        f"faint boxes that one side alone found: {found['unmatched_faint_boxes']}."
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
