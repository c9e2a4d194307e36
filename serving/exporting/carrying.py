"""What every export carries: the networks, predict.py, and the card that predict.py reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenshot.automl import second_look
from tenshot.automl.bundle import MANIFEST, Manifest, sha256_of
from tenshot.automl.novelty import FILE as NOVELTY
from tenshot.projects.documents import dumps
from tenshot.projects.errors import BundleError

LAYOUT = 1
"""Of card.json; predict.py knows the one that it reads."""
CARD = "card.json"
CARRIED = Path(__file__).parent / "carried"
NETWORKS = {"openvino": ("model.xml", "model.bin"), "onnxruntime": ("model.onnx",)}
"""Runtime → files of a network; the first one is opened."""
MAX_MEGAPIXELS = 100.0


def carry(bundle: Path, manifest: Manifest, folder: Path, runtime: str) -> None:
    """Copy what `runtime` needs of a bundle into `folder`, with predict.py and a card.json beside it.

    Raises BundleError if the bundle lacks a network for that runtime.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(_files(bundle, manifest, runtime))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, folder / name)
    shutil.copyfile(CARRIED / "predict.py", folder / "predict.py")
    if (bundle / "LICENSE.txt").is_file():
        shutil.copyfile(bundle / "LICENSE.txt", folder / "LICENSE.txt")
    card = technical(bundle, manifest, runtime) | {"model_files": {name: sha256_of(folder / name) for name in names}}
    write_card(folder, card)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / CARD).write_text(dumps(card) + "\n", "utf-8")


def put(name: str, folder: Path, target: str = "") -> None:
    """Copy one of the carried files."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CARRIED / name, folder / (target or name))


def technical(bundle: Path, manifest: Manifest, runtime: str) -> dict[str, Any]:
    """The part of the card that predict.py reads."""
    document = manifest.to_json()
    calibration = {"slopes": [], "intercepts": [], "knots": [], **document["calibration"]}
    again = bundle / second_look.FOLDER
    return {
        "layout": LAYOUT,
        "model": f"{manifest.project}@{manifest.version}",
        "task": str(manifest.task),
        "labels": document["labels"],
        "thresholds": document["thresholds"],
        "runtime": runtime,
        "network": NETWORKS[runtime][0],
        "input": document["input"],
        "calibration": calibration,
        "suppression": document["suppression"],
        "novelty": NOVELTY if (bundle / NOVELTY).is_file() else None,
        "second_look": _second_look(again, runtime) if again.is_dir() else None,
        "max_megapixels": MAX_MEGAPIXELS,
    }


def _second_look(folder: Path, runtime: str) -> dict[str, Any]:
    import json

    return {
        "network": f"{second_look.FOLDER}/{NETWORKS[runtime][0]}",
        "input": json.loads((folder / second_look.FILE).read_text("utf-8")),
        "most": second_look.MOST,
        "least_score": second_look.LEAST_SCORE,
        "overlap": second_look.OVERLAP,
        "unseen": second_look.UNSEEN,
        "context": second_look.CONTEXT,
    }


def _files(bundle: Path, manifest: Manifest, runtime: str) -> Iterator[str]:
    """Names of the bundle's files that an export with this runtime needs."""
    wanted = list(NETWORKS[runtime])
    if (bundle / second_look.FOLDER).is_dir():
        wanted += [f"{second_look.FOLDER}/{name}" for name in NETWORKS[runtime]]
    if (bundle / NOVELTY).is_file():
        wanted.append(NOVELTY)
    for name in wanted:
        if name not in manifest.files:
            raise BundleError(f"{bundle / MANIFEST} names no {name}", hint="train again, or choose another format")
        yield name
