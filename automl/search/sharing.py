"""What a training tells other processes of the stage that it is in, so that they can take trials of it.

The leading process publishes it beside the journal for as long as it runs trials of one kind. A worker believes it only
while the training's job is running and held by the process that published it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tenshot.automl.search import owners
from tenshot.automl.search.place import Place

FILE = "stage.json"


@dataclass(frozen=True)
class Stage:
    kind: str
    """Of the trials: `finetune`, `detection`."""
    owner: str
    """The leading process."""
    seed: int
    trials: int
    """Most of them."""
    ends_at: float
    """Seconds since the epoch; a trial that would take longer is not begun."""
    sampler: str = "tpe"
    pruner: str = "none"
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the objective needs besides the training's data; JSON values."""


@contextmanager
def published(place: Place, stage: Stage) -> Iterator[None]:
    """Others may take trials of this stage until the block ends."""
    path, partial = place.folder / FILE, place.folder / f"partial-{FILE}"
    partial.write_text(json.dumps(asdict(stage)), "utf-8")
    partial.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def current(place: Place) -> Stage | None:
    """What was published last; None if no stage is open. A killed leader leaves its stage behind: see `is_open`."""
    try:
        return Stage(**json.loads((place.folder / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_open(place: Place, stage: Stage) -> bool:
    """Whether exactly this stage still runs, as far as the file and this host's process table tell."""
    return current(place) == stage and owners.lives_here(stage.owner) is not False
