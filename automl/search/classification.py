"""The search for classifiers, with one label an image or several.

Frozen features and their heads first: a trial takes milliseconds. Their best few are scored again on fresh folds, so
that the luckiest of many does not win by its luck. Then, as far as the budget goes, the last stages are fine-tuned, and
the two kinds may answer together. Of the three the cheapest is taken that none beats by more than one standard error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.search.classification_choice import best_of, uncompared
from tenshot.automl.search.classification_frozen import FrozenPhase, frozen_chosen
from tenshot.automl.search.classification_problem import Chosen, Problem
from tenshot.automl.search.classification_problem import covered as covered
from tenshot.automl.search.classification_tuning import FOLDS, FineTuning, search_tuned
from tenshot.automl.search.learning_curve import curve_of
from tenshot.automl.training.trained import LearningCurve, Series, Trained
from tenshot.projects.errors import TrainingError

if TYPE_CHECKING:
    from tenshot.automl.search.frozen import Learning
    from tenshot.automl.search.sharing import Stage
    from tenshot.projects.workspace import Workspace


class Search(Problem):
    """One search. `run()` is the whole of it; `join()` helps one that another process runs."""

    def run(self) -> Trained:
        self.take_images()
        if not self.comparable():
            return self._uncompared()
        params = FrozenPhase(self).run()
        curve = curve_of(self.frozen, params, self.last_folds(), seed=self.seed, left_s=self.budget.left)
        tuned = search_tuned(self, params)
        chosen = frozen_chosen(self, params) if tuned is None else best_of(self, params, *tuned)
        return self._result(chosen, curve)

    def join(self, stage: Stage) -> None:
        """Take trials of fine-tuning of a search that another process leads, until there are none to take."""
        self.restrict(stage.details)
        FineTuning(self, stage.details["params"], int(stage.details[FOLDS])).join(stage)

    def _uncompared(self) -> Trained:
        chosen = uncompared(self)
        some = len(covered(self.last_folds()))
        why = "too few images can be held out to compare models" if some else "nothing could be held out"
        known = "" if chosen.found else f" and their quality is unknown{', for want of time' if some else ''}"
        self.warnings.append(
            f"{why} (an image whose label no other carries, but for near duplicates, cannot be checked): known-good "
            f"recipes were trained{known}; add images of each label"
        )
        return self._result(chosen, None)

    def _result(self, chosen: Chosen, curve: LearningCurve | None) -> Trained:
        from tenshot.automl.training.served import served

        spec = self.frozen.extractor(chosen.backbone).spec
        if chosen.size:
            spec = replace(spec, height=chosen.size, width=chosen.size)
        run, write = served(chosen.network, lambda name: self.frozen.extractor(name).backbone(), spec)
        return Trained(
            labels=self.data.labels,
            base=chosen.backbone,
            input=spec,
            suppression=None,
            oof=chosen.found.outcome if chosen.found else None,
            oof_share=chosen.share(len(self.data.pictures)),
            network=run,
            export=write,
            params=chosen.params,
            objective="cross-validated log likelihood",
            trials=self.records,
            curves=[*self.curves, *self._trial_curves()],
            warnings=self.warnings,
            learning_curve=curve,
        )

    def _trial_curves(self) -> list[Series]:
        points: list[tuple[float, float]] = []
        for number, record in enumerate(r for r in self.records if r.value is not None):
            value = float(record.value or 0.0)
            best = max(points[-1][1], value) if points else value
            points.append((float(number + 1), best))
        return [Series("best cross-validated log likelihood so far", points)]


def search(workspace: Workspace, data: Learning, **options: Any) -> Trained:
    """Raises TrainingError when there is nothing to tell apart."""
    carried = data.truth.any(axis=0)
    if data.exclusive and carried.sum() < 2:
        names = [data.labels[int(i)] for i in np.flatnonzero(carried)]
        raise TrainingError(
            f"the training images carry one label ({', '.join(names) or 'none'}); a classifier needs at least 2",
            hint="import images of another label, or use a detection project to find one kind of object",
        )
    if not carried.any():
        raise TrainingError("no training image carries a label", hint="label some of them, or import others")
    return Search(workspace, data, **options).run()
