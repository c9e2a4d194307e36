"""Optuna studies in a journal file: killable at any moment, and continued by the next call with the same journal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from tenshot.automl.search.budget import Budget
from tenshot.automl.search.space import Space
from tenshot.automl.trials import Trial

STARTUP_TRIALS = 16
MOST_SKIPPED = 3
"""Choices in a row that the time left does not allow before the search ends."""
CHOICES = "choices"


def open_study(journal: Path, space: Space, *, seed: int, direction: str = "minimize") -> optuna.Study:
    """Open or continue. The default is the first trial, also of a study that was killed before it had scored it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = opened(journal)
    done = _finished_before(backend, space.kind)
    study = optuna.create_study(
        storage=JournalStorage(backend),
        study_name=space.kind,
        direction=direction,
        load_if_exists=True,
        # A continued study must not draw the same numbers again.
        sampler=optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=STARTUP_TRIALS),
    )
    study.set_user_attr(CHOICES, {key: list(values) for key, values in space.choices.items()})
    for recipe in (space.default, *space.known):
        if not _tries(study, recipe):
            study.enqueue_trial(dict(recipe))
    return study


def choices_of(journal: Path, name: str) -> dict[str, list[Any]] | None:
    """What a study left behind in this journal chose from; None if there is none. A study cannot change its choices."""
    if not journal.is_file():
        return None
    storage = JournalStorage(opened(journal))
    found = [s for s in storage.get_all_studies() if s.study_name == name]
    return found[0].user_attrs.get(CHOICES) if found else None


def _mend(journal: Path) -> None:
    """Cut off the half-written last line of a process that lost power: the next line would be glued to it."""
    if journal.is_file():
        data = journal.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(journal, data.rfind(b"\n") + 1)


def opened(journal: Path) -> JournalFileBackend:
    """The journal, readable whatever happened to its last writer."""
    _mend(journal)
    return JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal)))


def _tries(study: optuna.Study, params: Mapping[str, Any]) -> bool:
    """Whether these parameters are scored or waiting."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.WAITING])
    return any(t.system_attrs.get("fixed_params", t.params) == dict(params) for t in trials)


def _finished_before(backend: Any, name: str) -> int:
    storage = JournalStorage(backend)
    known = {s.study_name: s._study_id for s in storage.get_all_studies()}
    if name not in known:
        return 0
    trials = storage.get_all_trials(known[name], deepcopy=False)
    for trial in trials:
        if trial.state == TrialState.RUNNING:  # left behind by a killed process
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return sum(t.state.is_finished() for t in trials)


def run_trials(
    study: optuna.Study,
    space: Space,
    score: Callable[[dict[str, Any]], tuple[float, float]],
    *,
    trials: int,
    budget: Budget,
    cost: Callable[[], float],
    on_trial: Callable[[optuna.Study], None],
    needs: Callable[[dict[str, Any]], float] = lambda _: 0.0,
) -> None:
    """Ask, score (value, sd), tell, until there are `trials` finished ones or the next would not fit the budget.

    `cost()` is the expected seconds of any next trial, `needs(params)` of this one: a trial that needs too much is
    pruned. The default runs even when the budget is gone: there is no model without it.
    """
    skipped = 0
    while skipped < MOST_SKIPPED and finished(study) < trials and (finished(study) == 0 or budget.left > cost()):
        trial = study.ask()
        started = time.time()
        params = space.suggest(trial)
        if finished(study) and needs(params) > budget.left:
            study.tell(trial, state=TrialState.PRUNED)
            skipped += 1
            continue
        skipped = 0
        try:
            value, sd = score(params)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_user_attr("sd", sd)
        trial.set_user_attr("seconds", time.time() - started)
        study.tell(trial, value)
        on_trial(study)


def finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))


def best_params(study: optuna.Study, count: int) -> list[dict[str, Any]]:
    """The best `count` different choices, best first."""
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
    chosen: list[dict[str, Any]] = []
    for trial in sorted(done, key=lambda t: (sign * (t.value or 0.0), t.number)):
        if trial.params not in chosen:
            chosen.append(dict(trial.params))
    return chosen[:count]


def records(study: optuna.Study) -> list[Trial]:
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0
    return [
        Trial(
            number=t.number,
            kind=study.study_name,
            params=dict(t.params),
            value=sign * t.value if t.state == TrialState.COMPLETE and t.value is not None else None,
            sd=t.user_attrs.get("sd"),
            seconds=float(t.user_attrs.get("seconds", 0.0)),
            state=t.state.name.lower(),
            started_at=t.datetime_start.timestamp() if t.datetime_start else 0.0,
        )
        for t in study.get_trials(deepcopy=False)
        if t.state != TrialState.WAITING
    ]
