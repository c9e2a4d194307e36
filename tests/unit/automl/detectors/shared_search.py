"""A process of test_shared_search.py: leads or joins a detection search at 96 px.

argv: lead|join, journal, weights, the search space as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from tenshot.automl.detectors.examples import Example
from tenshot.automl.search import detection, owners, sharing
from tenshot.automl.search.detection_space import Space
from tenshot.automl.search.place import Place
from tenshot.automl.search.study import StageOver, taken
from tenshot.datasets.annotations import Box


def picture(seed: int) -> Example:
    """A square at a random place."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (96, 128, 3), np.uint8)
    side = int(random.integers(24, 40))
    left, top = int(random.integers(0, 128 - side)), int(random.integers(0, 96 - side))
    cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), (240, 240, 40), -1)
    box = Box("square", left / 128, top / 96, side / 128, side / 96)
    return Example(hashlib.sha256(image.tobytes()).hexdigest(), lambda: image, (box,), f"photo {seed % 2}")


def main() -> None:
    role, journal, weights, rules = sys.argv[1:]
    place, examples = Place(Path(journal), beat_s=0.1, stale_after_s=1.0), [picture(seed) for seed in range(6)]
    options = {"weights": Path(weights), "threads": 1, "rules": Space.model_validate(json.loads(rules))}
    if role == "lead":
        found = detection.search(examples, ("square",), budget_s=900.0, trials=4, seed=0, journal=place, **options)
        sys.stdout.write(json.dumps([[t.number, t.kind, t.state] for t in found.trials]))
        return
    while (stage := sharing.current(place)) is None:
        time.sleep(0.02)

    def check() -> None:
        if sharing.current(place) != stage:
            raise StageOver

    detection.join(examples, ("square",), stage=stage, place=place, check=check, **options)
    sys.stdout.write(json.dumps({"owner": owners.own(), "taken": taken(place, stage.kind)}))


if __name__ == "__main__":
    main()
