"""A process of test_sharing.py: leads or joins a study of a toy objective.

argv: lead|join, journal, storage URL or "", number of trials, a file that has to be there before a trial ends.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tenshot.automl.search import owners, sharing
from tenshot.automl.search import study as studies
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.place import Place
from tenshot.automl.search.space import Space

SPACE = Space("toy", {"strength": [0.01, 100.0], "head": ["a", "b"]}, {"strength": 1.0, "head": "b"})


def main() -> None:
    role, journal, url, trials, gate = sys.argv[1:]
    place = Place(Path(journal), url or None, "p/1-0", beat_s=0.1, stale_after_s=1.0)

    def check() -> None:
        if role == "join" and not (stage := sharing.current(place)):
            raise studies.StageOver(stage)

    def score(params: dict[str, Any]) -> studies.Scored:
        while not Path(gate).exists():
            check()
            time.sleep(0.01)
        time.sleep(0.02)
        value = params["strength"] + (params["head"] == "a")
        return studies.Scored(value, 0.1, {"logits": np.array([value])})

    options: dict[str, Any] = {"trials": int(trials), "budget": Budget.start(60), "cost": lambda: 0.0}
    options |= {"on_trial": lambda _: None, "check": check}
    if role == "lead":
        study = studies.open_study(place, SPACE, seed=3)
        studies.run_trials(study, SPACE, score, share={"what": "toy"}, **options)
    else:
        while sharing.current(place) is None:
            time.sleep(0.01)
        study = studies.join(place, "toy", seed=3)
        with suppress(studies.StageOver):
            studies.run_trials(study, Space("toy", study.user_attrs[studies.CHOICES], {}), score, **options)
    sys.stdout.write(json.dumps({"owner": owners.own(), "taken": studies.taken(place, "toy")}))


if __name__ == "__main__":
    main()
