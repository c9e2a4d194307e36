"""Optuna studies that survive their process, and that several processes may share.

A study lies in a journal file or a database (`place.py`). One process leads it: it opens the study, enqueues the
recipes that are known to be good, and finds trials whose process died, which fail and are tried again. Others may
`join` and take trials of it while the leader publishes the stage (`sharing.py`).
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tenshot.automl.search import owners, sharing
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.place import Place, Where, place_of, storage
from tenshot.automl.search.space import Space
from tenshot.automl.trials import Trial
from tenshot.projects.errors import JobCancelled

Sampler = Literal["tpe", "gp"]
Pruner = Literal["none", "wilcoxon", "median"]

STARTUP_TRIALS = {"tpe": 16, "gp": 5}
"""Drawn at random before a sampler learns from what there is."""
PRUNED_BELOW = 0.1
"""p-value of Wilcoxon's test of a trial's folds against the same folds of the best."""
MOST_SKIPPED = 3
"""Choices in a row that the time left does not allow before the search ends."""
MOST_RETRIES = 2
"""Of one choice whose process died: what kills its process again and again is not tried for ever."""
POLL_S = 0.2
CHOICES, OWNER, LOST, RETRY_OF, RETRIES = "choices", "owner", "lost", "retry_of", "retries"
"""Attributes of a study, and of trials."""


@dataclass(frozen=True)
class Scored:
    """What a trial found. `kept` lies beside the journal, for the leader and for a search that goes on."""

    value: float
    sd: float
    kept: Mapping[str, NDArray[Any]] = field(default_factory=dict)


Answer = tuple[float, float] | Scored
Folded = Generator[tuple[int | Sequence[int], Any], None, Answer]
"""Yields the id of each fold and the losses on it (a number, or an array whose mean counts), or the ids of its images
and their losses, which tells more: three folds alone prove nothing. Returns the whole. It is closed after a fold that
shows that the trial is not worth going on with."""
Objective = Callable[[dict[str, Any]], Answer | Folded]


class Study(optuna.Study):
    """An Optuna study that knows where it lies."""

    place: Place
    leads: bool
    how: tuple[Sampler, Pruner]
    seed: int

    @property
    def kind(self) -> str:
        """Of the candidates; the name within its version."""
        return kind_of(self)


class StageOver(Exception):
    """The stage whose trials a worker took has ended; its running trial is of no use any more."""


def open_study(
    journal: Where, space: Space, *, seed: int, direction: str = "minimize", sampler: Sampler = "tpe",
    pruner: Pruner = "none", startup: int | None = None, attributes: Mapping[str, Any] | None = None,
) -> Study:  # fmt: skip
    """Open or continue, as the process that leads it. The default is the first trial, also of a study that was killed
    before it had scored it; a trial whose process died is tried again.

    sampler: `gp` for few and expensive trials. pruner: `wilcoxon` compares folds of one id, for objectives that yield
    them. startup: random trials before the sampler learns. attributes: what else the study was planned with, JSON
    values; where its choices are written, all of these are. Raises StoreError.
    """
    study = lead(journal, space.kind, seed=seed, direction=direction, sampler=sampler, pruner=pruner, startup=startup)
    for key, value in (attributes or {}).items():
        study.set_user_attr(key, value)
    study.set_user_attr(CHOICES, {key: list(values) for key, values in space.choices.items()})
    for recipe in (space.default, *space.known):
        if not tries(study, recipe):
            study.enqueue_trial(dict(recipe))
    return study


def lead(
    journal: Where, kind: str, *, seed: int, direction: str, sampler: Sampler = "tpe", pruner: Pruner = "none",
    startup: int | None = None,
) -> Study:  # fmt: skip
    """The bare study of `open_study`, for searches that say themselves what comes first. Raises StoreError."""
    place = place_of(journal)
    kept = storage(place)
    created = optuna.create_study(storage=kept, study_name=place.name(kind), direction=direction, load_if_exists=True)
    revive(created, place, opening=True)
    # A continued study must not draw the same numbers again.
    drawn = seed + sum(t.state.is_finished() for t in created.get_trials(deepcopy=False))
    return _study(place, kept, kind, leads=True, seed=seed, drawn=drawn, how=(sampler, pruner), startup=startup)


def join(journal: Where, kind: str, *, seed: int, sampler: Sampler = "tpe", pruner: Pruner = "none") -> Study:
    """A study that another process leads, with random numbers of this process's own. Raises KeyError if there is none,
    StoreError."""
    place = place_of(journal)
    drawn = seed + owners.seed_of(owners.own())
    return _study(place, storage(place), kind, leads=False, seed=seed, drawn=drawn, how=(sampler, pruner), startup=None)


def _study(
    place: Place, kept: Any, kind: str, *, leads: bool, seed: int, drawn: int, how: tuple[Sampler, Pruner],
    startup: int | None,
) -> Study:  # fmt: skip
    few = startup if startup is not None else STARTUP_TRIALS[how[0]]
    study = Study(place.name(kind), kept, _sampler(how[0], drawn, few), _pruner(how[1]))
    study.place, study.leads, study.how, study.seed = place, leads, how, seed
    return study


def _sampler(name: Sampler, seed: int, startup: int) -> optuna.samplers.BaseSampler:
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    # A running trial counts as a bad one, so that others do not draw beside it.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    if name == "wilcoxon":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's word to developers
            return optuna.pruners.WilcoxonPruner(p_threshold=PRUNED_BELOW)
    return optuna.pruners.MedianPruner(n_startup_trials=4) if name == "median" else optuna.pruners.NopPruner()


def taken(journal: Where, kind: str) -> int:
    """Trials that this process finished. Raises KeyError if there is no such study, StoreError."""
    place = place_of(journal)
    kept = storage(place)
    trials = kept.get_all_trials(kept.get_study_id_from_name(place.name(kind)), deepcopy=False)
    return sum(_is_settled(t) and t.user_attrs.get(OWNER) == owners.own() for t in trials)


def kind_of(study: optuna.Study) -> str:
    return str(study.study_name).rpartition("/")[2]


def choices_of(journal: Where, name: str) -> dict[str, list[Any]] | None:
    """What a study left behind chose from; None if there is none. A study cannot change its choices.

    Raises StoreError.
    """
    choices: dict[str, list[Any]] | None = attributes_of(journal, name).get(CHOICES)
    return choices


def attributes_of(journal: Where, name: str) -> dict[str, Any]:
    """What was written on a study; nothing if there is none. Raises StoreError."""
    place = place_of(journal)
    if not place.exists:
        return {}
    kept = storage(place)
    try:
        return dict(kept.get_study_user_attrs(kept.get_study_id_from_name(place.name(name))))
    except KeyError:
        return {}


def tries(study: optuna.Study, params: Mapping[str, Any]) -> bool:
    """Whether these parameters are scored, waiting, or running."""
    states = [TrialState.COMPLETE, TrialState.WAITING, TrialState.RUNNING]
    trials = study.get_trials(deepcopy=False, states=states)
    return any(t.system_attrs.get("fixed_params", t.params) == dict(params) for t in trials)


# Trials of several processes ------------------------------------------------------------------------------------------


def begin(study: optuna.Study) -> optuna.Trial:
    """The next trial, marked as this process's."""
    trial = study.ask()
    trial.set_user_attr(OWNER, owners.own())
    return trial


def crowded(study: optuna.Study, trial: optuna.Trial, done: int, trials: int) -> bool:
    """Whether others began the last of the `trials` at the same moment as this process: of those that run, the earlier
    ones may stay."""
    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    return bool(done + sum(t.number < trial.number for t in running) >= trials)


def tell(
    study: optuna.Study, trial: optuna.Trial, value: float | None = None, *, state: TrialState | None = None,
    **attributes: Any,
) -> bool:  # fmt: skip
    """End a trial, with attributes; False if another process has ended it before: then that stays as it is."""
    try:
        for key, what in attributes.items():
            trial.set_user_attr(key, what)
        study.tell(trial, value, state=state, skip_if_finished=False)
    except (UpdateFinishedTrialError, ValueError):
        if study.get_trials(deepcopy=False)[trial.number].state.is_finished():
            return False
        raise
    return True


def elsewhere(study: optuna.Study) -> list[FrozenTrial]:
    """Running trials of other processes."""
    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    return [t for t in running if t.user_attrs.get(OWNER) != owners.own()]


def revive(study: optuna.Study, place: Place, *, opening: bool = False) -> None:
    """Fail the running trials whose process died, and try again what was lost. Only for the leader, between its trials.

    opening: nobody has joined yet, so a trial without an owner is not one that is just being begun.
    """
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if _is_lost(trial, place, opening):
            _fail(study, trial)
    trials = study.get_trials(deepcopy=False)
    retried = {t.user_attrs.get(RETRY_OF) for t in trials}
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.user_attrs.get(LOST) and trial.number not in retried:
            _retry(study, trial)


def _is_lost(trial: FrozenTrial, place: Place, opening: bool) -> bool:
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return opening or time.time() - begun > place.stale_after_s
    return owner == owners.own() or not owners.lives(owner, place)


def _fail(study: optuna.Study, trial: FrozenTrial) -> None:
    try:
        study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:  # it has ended after all
        return


def _retry(study: optuna.Study, trial: FrozenTrial) -> None:
    params = trial.system_attrs.get("fixed_params", trial.params)
    times = int(trial.user_attrs.get(RETRIES, 0))
    whole = set(study.user_attrs.get(CHOICES) or params) <= set(params)
    if params and whole and times < MOST_RETRIES and not tries(study, params):
        study.enqueue_trial(dict(params), user_attrs={RETRY_OF: trial.number, RETRIES: times + 1})


def turn(
    study: Study, may_begin: Callable[[int], bool], *, waits: Callable[[], bool],
    check: Callable[[], None] = lambda: None, show: Callable[[], None] = lambda: None,
) -> bool:  # fmt: skip
    """Whether this process is to begin a trial now; False: the stage is over.

    may_begin(trials that others are running) says whether there is one to begin. If not, the leader stays while others
    run theirs and `waits()`; `show()` is called in between, and lost trials become new ones to begin.
    """
    while True:
        check()
        if study.leads:
            revive(study, study.place)
        others = len(elsewhere(study))
        if may_begin(others):
            return True
        if not (study.leads and others and waits()):
            return False
        show()
        threading.Event().wait(POLL_S)


def close(study: Study) -> None:
    """The leader fails what others still run: what comes too late must not change what was chosen."""
    if not study.leads:
        return
    for trial in elsewhere(study):
        with suppress(UpdateFinishedTrialError):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


# The loop -------------------------------------------------------------------------------------------------------------


def run_trials(
    study: Study,
    space: Space,
    score: Objective,
    *,
    trials: int,
    budget: Budget,
    cost: Callable[[], float],
    on_trial: Callable[[optuna.Study], None],
    needs: Callable[[dict[str, Any]], float] = lambda _: 0.0,
    share: Mapping[str, Any] | None = None,
    keep: Callable[[], float] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Ask, score, tell, until there are `trials` of them or the next would not fit the budget.

    score: returns (value, sd) or `Scored`, or yields its folds first (`Folded`). `cost()` is the expected seconds of
    any next trial, `needs(params)` of this one: a trial that needs too much is pruned. The default runs even when the
    budget is gone: there is no model without it.
    share: what a worker's objective needs besides the data, JSON values; None: nobody else takes trials. Trials of
    others count, and the leader waits for those that run while more than `keep()` seconds are left (`cost()` if None).
    check: raises to stop between trials.
    """
    with nullcontext() if share is None else published(study, trials=trials, left_s=budget.left, details=share):
        _Loop(study, space, score, trials, budget, cost, on_trial, needs, keep or cost, check).run()


def published(study: Study, *, trials: int, left_s: float, details: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Workers may take trials until the block ends. details: what the objective needs besides the data, JSON values."""
    if not study.leads:
        return nullcontext()
    sampler, pruner = study.how
    stage = sharing.Stage(study.kind, owners.own(), study.seed, trials, time.time() + left_s, sampler, pruner, details)
    return sharing.published(study.place, stage)


@dataclass
class _Loop:
    study: Study
    space: Space
    score: Objective
    trials: int
    budget: Budget
    cost: Callable[[], float]
    on_trial: Callable[[optuna.Study], None]
    needs: Callable[[dict[str, Any]], float]
    keep: Callable[[], float]
    check: Callable[[], None]
    skipped: int = 0
    shown: int = 0

    def run(self) -> None:
        while turn(self.study, self._may_begin, waits=self._waits, check=self.check, show=self._show):
            self._one()
        close(self.study)

    def _may_begin(self, others: int) -> bool:
        if self.skipped >= MOST_SKIPPED or settled(self.study) + others >= self.trials:
            return False
        return (not others and not finished(self.study)) or self.budget.left > self.cost()

    def _waits(self) -> bool:
        return not finished(self.study) or self.budget.left > self.keep()

    def _show(self) -> None:
        done = finished(self.study)
        if done > self.shown:
            self.shown = done
            self.on_trial(self.study)

    def _one(self) -> None:
        trial, started = begin(self.study), time.time()
        params = self.space.suggest(trial)
        if crowded(self.study, trial, settled(self.study), self.trials):
            tell(self.study, trial, state=TrialState.PRUNED)
            return
        if finished(self.study) and self.needs(params) > self.budget.left:
            tell(self.study, trial, state=TrialState.PRUNED)
            self.skipped += 1
            return
        self.skipped = 0
        try:
            found = self._scored(trial, params)
        except BaseException as error:
            tell(self.study, trial, state=TrialState.FAIL, **({LOST: True} if loses(self.study, error) else {}))
            raise
        seconds = time.time() - started
        if found is None:
            tell(self.study, trial, state=TrialState.PRUNED, seconds=seconds)
            return
        keep_arrays(self.study, trial.number, found.kept)
        if tell(self.study, trial, found.value, sd=found.sd, seconds=seconds):
            self._show()

    def _scored(self, trial: optuna.Trial, params: dict[str, Any]) -> Scored | None:
        """None if it was pruned."""
        answer = self.score(params)
        return _whole(answer) if isinstance(answer, (tuple, Scored)) else _folded(trial, answer)


def loses(study: Study, error: BaseException) -> bool:
    """Whether the trial that this error ended is worth another attempt: it was stopped, or failed on a worker, where
    something else may be wrong than the trial."""
    if isinstance(error, StageOver):
        return False
    return not study.leads or isinstance(error, JobCancelled) or not isinstance(error, Exception)


def _folded(trial: optuna.Trial, folds: Folded) -> Scored | None:
    try:
        while True:
            number, losses = next(folds)
            if isinstance(number, int):
                trial.report(float(np.mean(losses)), number)
            else:
                for step, loss in zip(number, losses, strict=True):
                    trial.report(float(loss), int(step))
            if trial.should_prune():
                folds.close()
                return None
    except StopIteration as end:
        return _whole(end.value)


def _whole(answer: Answer) -> Scored:
    return answer if isinstance(answer, Scored) else Scored(*answer)


# What there is --------------------------------------------------------------------------------------------------------


def finished(study: optuna.Study) -> int:
    """Trials with a value."""
    return len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))


def settled(study: optuna.Study) -> int:
    """Trials that need not be repeated: with a value, or given up after some folds. What the time left did not allow
    does not count."""
    return sum(_is_settled(t) for t in study.get_trials(deepcopy=False))


def _is_settled(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.PRUNED and bool(trial.intermediate_values))


def best_params(study: optuna.Study, count: int) -> list[dict[str, Any]]:
    """The best `count` different choices, best first."""
    chosen: list[dict[str, Any]] = []
    for trial in _ranked(study):
        if trial.params not in chosen:
            chosen.append(dict(trial.params))
    return chosen[:count]


def kept_of(study: Study, params: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What the best finished trial of these parameters kept; empty if it kept nothing or there is no such trial."""
    for trial in _ranked(study):
        if trial.params == dict(params) and (found := arrays_of(study, trial.number)):
            return found
    return {}


def _ranked(study: optuna.Study) -> Iterable[FrozenTrial]:
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
    return sorted(done, key=lambda t: (sign * (t.value or 0.0), t.number))


def keep_arrays(study: Study, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Beside the journal, complete or not at all."""
    if not arrays:
        return
    folder = study.place.trial_dir(study.kind, number)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial-kept.npz"
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(folder / "kept.npz")


def arrays_of(study: Study, number: int) -> dict[str, NDArray[Any]]:
    path = study.place.trial_dir(study.kind, number) / "kept.npz"
    if not path.is_file():
        return {}
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def records(study: optuna.Study) -> list[Trial]:
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0
    return [
        Trial(
            number=t.number,
            kind=kind_of(study),
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
