"""Optuna's journal, killed and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tenshot.automl.search import study as studies
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.space import Space, load
from tenshot.automl.search.study import best_params, choices_of, finished, open_study, records, run_trials
from tenshot.projects.errors import SettingsError

SPACE = Space("toy", {"strength": [0.01, 100.0], "head": ["a", "b"]}, {"strength": 1.0, "head": "b"})


class Killed(BaseException):
    pass


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study" / "journal.log"


def run(journal: Path, trials: int, budget: Budget | None = None, space: Space = SPACE, **options: Any) -> list[Any]:
    """Returns the parameters that were scored; `b` is better, and small strengths are."""
    seen: list[dict[str, Any]] = []

    def score(params: dict[str, Any]) -> tuple[float, float]:
        seen.append(params)
        return params["strength"] + (params["head"] == "a"), 0.1

    options = {"trials": trials, "budget": budget or Budget.start(60), "cost": lambda: 0.0, **options}
    run_trials(open_study(journal, space, seed=3), space, score, **{"on_trial": lambda _: None, **options})
    return seen


def test_default_first(journal: Path) -> None:
    assert run(journal, 4)[0] == SPACE.default


def test_known_recipes_come_next(journal: Path) -> None:
    known = ({"strength": 3.0, "head": "a"}, {"strength": 2.0, "head": "b"})
    space = Space("toy", SPACE.choices, SPACE.default, known)
    assert run(journal, 3, space=space) == [SPACE.default, *known]
    assert all(p not in (SPACE.default, *known) for p in run(journal, 4, space=space))


def test_known_recipe_that_the_choices_do_not_allow_is_dropped() -> None:
    known = ({"strength": 3.0, "head": "a"}, {"strength": 2.0, "head": "b"})
    assert Space("toy", SPACE.choices, SPACE.default, known).narrowed(head=["b"]).known == known[1:]


def test_same_seed_same_trials(journal: Path, tmp_path: Path) -> None:
    one, same = run(journal, 8), run(tmp_path / "same.log", 8)
    assert one == same
    assert len({repr(p) for p in one}) == 8


def test_finished_trials_are_not_repeated(journal: Path) -> None:
    first = run(journal, 3)
    second = run(journal, 6)
    assert len(second) == 3
    assert all(p not in first for p in second)
    assert run(journal, 6) == []
    assert [r.number for r in records(open_study(journal, SPACE, seed=3))] == list(range(6))


@pytest.mark.parametrize("spent", [0.0, 5.0])
def test_no_budget_still_runs_the_default(journal: Path, spent: float) -> None:
    now = iter([0.0] + [spent] * 99)
    assert run(journal, 9, Budget.start(0.0, lambda: next(now))) == [SPACE.default]


def test_a_trial_that_would_not_fit_is_not_begun(journal: Path) -> None:
    clock = [0.0]
    budget = Budget.start(10.0, lambda: clock[0])

    def tick(_: optuna.Study) -> None:
        clock[0] += 4.0

    assert len(run(journal, 9, budget, cost=lambda: 4.0, on_trial=tick)) == 2


def test_what_needs_too_much_is_skipped(journal: Path) -> None:
    """The default runs all the same, cheaper choices go on, and three skipped in a row are enough."""

    def needs(params: dict[str, Any]) -> float:
        return 99.0 if params["head"] == "b" else 1.0

    assert {p["head"] for p in run(journal, 9, Budget.start(60), needs=needs)[1:]} == {"a"}
    study = open_study(journal.with_name("none"), SPACE, seed=3)
    assert len(run(journal.with_name("none"), 9, Budget.start(60), needs=lambda _: 99.0)) == 1
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] + [TrialState.PRUNED] * 3


def kill_at(journal: Path, number: int, *, hard: bool) -> None:
    """Run until trial `number`, and stop there: as Ctrl-C does, or leaving the trial running as kill -9 does."""
    study = open_study(journal, SPACE, seed=3)
    run(journal, number) if number else None
    if hard:
        SPACE.suggest(study.ask())
        return

    def score(_: dict[str, Any]) -> tuple[float, float]:
        raise Killed

    options: dict[str, Any] = {"trials": 99, "budget": Budget.start(60), "cost": lambda: 0.0}
    with pytest.raises(Killed):
        run_trials(open_study(journal, SPACE, seed=3), SPACE, score, on_trial=lambda _: None, **options)


@pytest.mark.parametrize("hard", [True, False], ids=["kill -9", "Ctrl-C"])
class TestKilled:
    def test_in_the_middle(self, journal: Path, hard: bool) -> None:
        kill_at(journal, 2, hard=hard)
        study = open_study(journal, SPACE, seed=3)
        begun = [t.state for t in study.trials if t.state != TrialState.WAITING]
        assert begun == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
        assert len(run(journal, 4)) == 2

    def test_in_the_default(self, journal: Path, hard: bool) -> None:
        """There is no model without it, so it comes first again."""
        kill_at(journal, 0, hard=hard)
        assert run(journal, 2)[0] == SPACE.default

    def test_records_say_so(self, journal: Path, hard: bool) -> None:
        kill_at(journal, 1, hard=hard)
        found = records(open_study(journal, SPACE, seed=3))
        assert [(r.state, r.value is None) for r in found] == [("complete", False), ("fail", True)]


def test_half_a_line(journal: Path) -> None:
    """Power went while a line was written: that line is lost and nothing else."""
    run(journal, 3)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "study_')
    assert len(run(journal, 5)) == 2
    assert finished(open_study(journal, SPACE, seed=3)) == 5


def test_a_continued_study_keeps_its_choices(journal: Path) -> None:
    """The budget narrows what may be chosen; what is cached by then would widen it, which Optuna does not allow."""
    narrow = SPACE.narrowed(head=["b"])
    assert choices_of(journal, "toy") is None
    run(journal, 2, space=narrow)
    assert choices_of(journal, "toy") == narrow.choices
    assert choices_of(journal, "other") is None
    again = SPACE.narrowed(**(choices_of(journal, "toy") or {}))
    assert {p["head"] for p in run(journal, 12, space=again)} == {"b"}


def test_two_kinds_in_one_journal(journal: Path) -> None:
    other = Space("other", SPACE.choices, SPACE.default)
    assert len(run(journal, 3)) == len(run(journal, 3, space=other)) == 3
    assert {r.kind for r in records(open_study(journal, other, seed=3))} == {"other"}


def test_best(journal: Path) -> None:
    seen = run(journal, 12)
    expected = sorted(seen, key=lambda p: p["strength"] + (p["head"] == "a"))[:3]
    study = open_study(journal, SPACE, seed=3)
    assert best_params(study, 3) == expected
    # Recorded values are larger for better.
    assert max(records(study), key=lambda r: r.value or -1e9).params == expected[0]
    assert all(r.sd == 0.1 and r.started_at > 1e9 for r in records(study))


class TestFolds:
    """An objective that yields what it found on each fold."""

    def run(self, journal: Path, bad: dict[str, float], *, by_image: bool, trials: int = 8) -> list[str]:
        """Folds that were scored, as `head:fold`. Trials with head `a` lose by `bad` on each fold or image."""
        seen: list[str] = []

        def score(params: dict[str, Any]) -> studies.Folded:
            total = []
            for fold in range(8):
                seen.append(f"{params['head']}:{fold}")
                losses = [bad[params["head"]] + 0.01 * k for k in range(5)]
                total += losses
                yield ([5 * fold + k for k in range(5)], losses) if by_image else (fold, losses)
            return studies.Scored(sum(total) / len(total), 0.1, {"losses": np.array(total)})

        study = open_study(journal, SPACE, seed=3, pruner="wilcoxon")
        options: dict[str, Any] = {"trials": trials, "budget": Budget.start(60), "cost": lambda: 0.0}
        run_trials(study, SPACE, score, on_trial=lambda _: None, **options)
        self.study = study
        return seen

    @pytest.mark.parametrize(("by_image", "folds"), [(False, 4), (True, 1)], ids=["folds", "images"])
    def test_a_bad_trial_is_given_up(self, journal: Path, by_image: bool, folds: int) -> None:
        """Wilcoxon's test is sure after four folds at the earliest, with the images of a fold after one."""
        seen = self.run(journal, {"a": 1.0, "b": 0.0}, by_image=by_image)
        states = {t.params["head"]: t.state for t in self.study.trials}
        assert states == {"a": TrialState.PRUNED, "b": TrialState.COMPLETE}
        assert max(int(one[2:]) for one in seen if one[0] == "a") == folds - 1
        assert max(int(one[2:]) for one in seen if one[0] == "b") == 7
        assert len(self.study.trials) == 8, "a trial that was given up counts"

    def test_equal_trials_are_finished(self, journal: Path) -> None:
        self.run(journal, {"a": 0.0, "b": 0.0}, by_image=False)
        assert {t.state for t in self.study.trials} == {TrialState.COMPLETE}

    def test_ids_of_folds_are_reported(self, journal: Path) -> None:
        self.run(journal, {"a": 0.0, "b": 0.0}, by_image=False, trials=1)
        (trial,) = self.study.trials
        assert trial.intermediate_values == pytest.approx(dict.fromkeys(range(8), 0.02))

    def test_what_a_trial_kept(self, journal: Path) -> None:
        self.run(journal, {"a": 1.0, "b": 0.0}, by_image=False, trials=2)
        best = best_params(self.study, 1)[0]
        assert studies.kept_of(self.study, best)["losses"].shape == (40,)
        assert studies.kept_of(self.study, {"head": "b", "strength": 77.0}) == {}
        again = open_study(journal, SPACE, seed=3)
        assert studies.kept_of(again, best)["losses"].shape == (40,)


class TestLost:
    def lose(self, journal: Path) -> dict[str, Any]:
        """Begin a trial and leave it, as a killed process does."""
        study = open_study(journal, SPACE, seed=3)
        return SPACE.suggest(studies.begin(study))

    def test_comes_again(self, journal: Path) -> None:
        run(journal, 3)
        lost = self.lose(journal)
        assert run(journal, 4) == [lost]

    def test_not_for_ever(self, journal: Path) -> None:
        """What kills its process again and again is given up."""
        run(journal, 3)
        lost = self.lose(journal)
        assert [self.lose(journal) for _ in range(studies.MOST_RETRIES)] == [lost] * studies.MOST_RETRIES
        assert self.lose(journal) != lost

    def test_an_objective_that_fails_is_not_tried_again(self, journal: Path) -> None:
        def score(_: dict[str, Any]) -> tuple[float, float]:
            raise ValueError("bad luck")

        run(journal, 3)
        options: dict[str, Any] = {"trials": 9, "budget": Budget.start(60), "cost": lambda: 0.0}
        with pytest.raises(ValueError, match="bad luck"):
            run_trials(open_study(journal, SPACE, seed=3), SPACE, score, on_trial=lambda _: None, **options)
        study = open_study(journal, SPACE, seed=3)
        assert [t.state for t in study.trials][3:] == [TrialState.FAIL]


def test_few_expensive_trials(journal: Path, tmp_path: Path) -> None:
    """The sampler for them draws the same for the same seed, finds the better half, and goes on after a restart."""

    def found(where: Path, trials: int) -> list[Any]:
        study = open_study(where, SPACE, seed=3, sampler="gp")
        options: dict[str, Any] = {"trials": trials, "budget": Budget.start(60), "cost": lambda: 0.0}
        run_trials(
            study, SPACE, lambda p: (p["strength"] + (p["head"] == "a"), 0.1), on_trial=lambda _: None, **options
        )
        return [t.params for t in study.trials]

    first = found(journal, 9)
    assert found(tmp_path / "same.log", 9) == first
    assert first[0] == SPACE.default
    assert min(p["strength"] for p in first[5:]) < 0.1
    assert found(journal, 11)[:9] == first


@pytest.mark.parametrize("name", ["classification", "multilabel"])
def test_shipped_spaces(name: str) -> None:
    from tenshot.automl.backbones import BACKBONES
    from tenshot.automl.heads import HEADS
    from tenshot.automl.views import POLICIES

    spaces = load(name)
    frozen = spaces["frozen"].choices
    assert {part for name in frozen["backbone"] for part in name.split("+")} == set(BACKBONES)
    assert set(frozen["head"]) == set(HEADS)
    assert set(frozen["policy"]) == set(POLICIES)
    assert set(spaces) == {"frozen", "finetune"}


@pytest.mark.parametrize(
    ("default", "message"),
    [
        pytest.param({"head": "c", "strength": 1.0}, "recipe head='c' is not among", id="not a choice"),
        pytest.param({"head": "a", "strength": 1e9}, "recipe strength=1000000000.0", id="out of range"),
        pytest.param({"head": "a"}, "'strength' is only in one", id="missing"),
        pytest.param({"head": "a", "strength": 1.0, "heads": 1}, "'heads' is only in one", id="unknown"),
    ],
)
def test_bad_defaults(default: dict[str, Any], message: str) -> None:
    from tenshot.automl.search.space import _checked

    with pytest.raises(SettingsError, match=message):
        _checked("toy", SPACE.choices, default)
