"""What the phases of a search for classifiers plan, estimate and remember; nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import Input
from tenshot.automl.features import Picture
from tenshot.automl.search import study as studies
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.classification import Search, search
from tenshot.automl.search.classification_frozen import FrozenPhase
from tenshot.automl.search.classification_problem import BESIDE, Chosen, Problem
from tenshot.automl.search.classification_tuning import LEAST_TUNING_S, FineTuning
from tenshot.automl.search.frozen import Learning
from tenshot.automl.search.space import Space
from tenshot.automl.training import served
from tenshot.projects.errors import TrainingError
from tenshot.projects.workspace import Workspace

PARAMS = {
    "backbone": "mobilenet_v2", "taps": "7", "policy": "hflip", "head": "ridge", "strength": 1.0, "standardise": False,
    "project": "none",
}  # fmt: skip
STEPS = Space("finetune", {"steps": [10, 40], "start": [3, 5]}, {"steps": 40, "start": 3})


def learning(images: int, labels: tuple[str, ...] = ("blue", "red"), *, exclusive: bool = True) -> Learning:
    truth = np.zeros((images, len(labels)), bool)
    if labels:
        truth[np.arange(images), np.arange(images) % len(labels)] = True
    pictures = [Picture(f"image-{k}", lambda: np.zeros((8, 8, 3), np.uint8)) for k in range(images)]
    return Learning(pictures, truth, labels, exclusive, list(range(images)))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Any]:
    def make(kind: type[Problem] = Problem, images: int = 12, seconds: float = 100.0, **settings: Any) -> Any:
        usual: dict[str, Any] = {
            "task": "classification", "budget": Budget(seconds, 0.0, lambda: 0.0), "trials": 3, "seed": 0,
            "journal": tmp_path / "journal.log", "progress": lambda _: None, "check": lambda: None,
        }  # fmt: skip
        return kind(Workspace(tmp_path / "home"), learning(images), **usual | settings)

    return make


def test_what_continues_or_joins_sees_the_same(made: Callable[..., Any]) -> None:
    """Also as many views: others would be other features, and computed anew."""
    first = made(images=40)
    first.frozen.most_views = 1
    first.frozen.restrict(12, 0)
    first._look_at(first.frozen.data)
    second = made(images=40)
    warning = second.restrict(first.seen)
    assert warning is not None
    assert "12 of 40 images" in warning
    assert [p.id for p in second.data.pictures] == [p.id for p in first.data.pictures]
    assert second.frozen.views == first.frozen.views == 1
    for (train, held), (other_train, other_held) in zip(first.last_folds(3), second.last_folds(3), strict=True):
        assert np.array_equal(train, other_train)
        assert np.array_equal(held, other_held)


def test_a_continued_search_says_what_it_looks_at(made: Callable[..., Any], tmp_path: Path) -> None:
    space = Space("frozen", {"head": ["ridge"]}, {"head": "ridge"})
    studies.open_study(tmp_path / "journal.log", space, seed=0, attributes={"images": 12, "views": 1})
    problem = made(images=40)
    problem.take_images()
    assert any("12 of 40 images" in warning for warning in problem.warnings)


def test_a_continued_search_keeps_the_head_it_tuned_beside(
    made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More trials on frozen features might end with another backbone than that of the trials of fine-tuning."""
    journal, problem = tmp_path / "journal.log", made()
    space = problem.spaces["frozen"]
    studies.open_study(journal, space, seed=0, attributes=problem.seen)
    studies.open_study(journal, STEPS, seed=0, attributes={BESIDE: PARAMS})
    monkeypatch.setattr(FrozenPhase, "_try", lambda *_: pytest.fail("it searched again"))
    assert FrozenPhase(problem).run() == PARAMS


def test_killed_while_a_study_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes on finds choices only with all that they were planned with."""

    class Killed(Exception):
        pass

    write = studies.Study.set_user_attr

    def dying(self: studies.Study, key: str, value: Any) -> None:
        if key == studies.CHOICES:
            raise Killed
        write(self, key, value)

    journal = tmp_path / "journal.log"
    monkeypatch.setattr(studies.Study, "set_user_attr", dying)
    with pytest.raises(Killed):
        studies.open_study(journal, STEPS, seed=0, attributes={"folds": 3})
    assert studies.attributes_of(journal, "finetune") == {"folds": 3}


class TestTimeForTheFinalFit:
    """Of a finished trial whose final fit takes 40 s, and of cheap ones."""

    def found(self, made: Callable[..., Any], seconds: float) -> tuple[FineTuning, studies.Study]:
        problem = made(seconds=seconds)
        study = studies.open_study(problem.journal, STEPS, seed=0)
        tuning = FineTuning(problem, PARAMS, 2)
        tuning.tuning._paces[3, 224] = SimpleNamespace()  # type: ignore[assignment]
        tuning.tuning.scoring_s = lambda params: 2.0 * params["steps"]  # type: ignore[method-assign]
        tuning.tuning.final_s = lambda params: float(params["steps"])  # type: ignore[method-assign]
        return tuning, study

    def test_nothing_finished(self, made: Callable[..., Any]) -> None:
        tuning, study = self.found(made, 100.0)
        assert tuning._needs(study, {"steps": 10, "start": 3}) == 30.0

    def test_a_cheap_trial_leaves_time_for_a_dear_winner(self, made: Callable[..., Any]) -> None:
        tuning, study = self.found(made, 100.0)
        self.finish(study)
        assert tuning._needs(study, {"steps": 10, "start": 3}) == 20.0 + 40.0
        assert tuning._final_s(study) == 40.0

    def test_no_pace_is_measured_at_the_end(self, made: Callable[..., Any]) -> None:
        tuning, study = self.found(made, 40.0 + LEAST_TUNING_S - 1)
        self.finish(study)
        assert tuning._needs(study, {"steps": 10, "start": 5}) == float("inf")

    def finish(self, study: studies.Study) -> None:
        trial = studies.begin(study)
        assert STEPS.suggest(trial) == STEPS.default
        assert studies.tell(study, trial, 0.5)


@pytest.mark.parametrize(("views", "expected"), [(2, True), (1, False)])
def test_one_view_tells_nothing_about_mirroring(
    made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, views: int, expected: bool
) -> None:
    """It is the image itself, whatever the policy is called."""
    problem = made()
    problem.frozen.most_views = views
    monkeypatch.setattr(problem.frozen, "has", lambda *_: True)
    monkeypatch.setattr(problem, "frozen_score", lambda *_: SimpleNamespace(value=1.0))
    assert FineTuning(problem, PARAMS, 2)._flips_help is expected


def test_a_network_of_two_backbones_names_both(made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both licences hold for it."""
    monkeypatch.setattr(served, "served", lambda *_: (None, None))
    found = made(Search)
    monkeypatch.setattr(found.frozen, "extractor", lambda _: SimpleNamespace(spec=Input(8, 8, "stretch")))
    network: Any = None
    assert found._result(Chosen(network, "a+b", 0, {}, None), None).base == "a+b"


def test_no_label_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training image carries a label"):
        search(Workspace(tmp_path), learning(4, (), exclusive=False))
