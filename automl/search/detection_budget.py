"""How many folds and epochs of detector training a wall-clock budget allows. Pure arithmetic; time is a parameter.

One view is one image in one epoch. A fit on n images for E epochs is n · E views; k folds cost k − 1 fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenshot.automl.detectors.recipe import Recipe, rounded_size

SAFETY = 0.85
"""Share of the budget that is planned; the rest is for loading, predictions and noise."""
FOLDS_FOR = ((30.0, 5), (10.0, 3), (2.0, 2))
"""At least so many fits affordable → folds: at least the default trial and a few more must fit beside the final fit."""
LEAST_OF_EPOCHS = 0.25
"""A cross-validated default with fewer than this share of its epochs says little; then there is only a plain fit."""


ENOUGH = 1 + LEAST_OF_EPOCHS
"""Whole fits that the budget must allow before the images keep their size: the final fit and a short trial."""
SIZES = (1.0, 0.875, 0.75, 0.625)
"""Shares of the wanted image size that are tried in turn while the budget does not allow ENOUGH. A few hundred steps at
416 px beat a few dozen at 512 px (docs/detection-recipe.md)."""
SMALLEST_PX = 256
SOON_S = 230.0
"""Seconds after which the first usable detector should be there."""


@dataclass(frozen=True, slots=True)
class Plan:
    folds: int
    """0: no cross-validation, the metric stays unknown."""
    epochs: int
    """Of a trial; the final fit takes all of the recipe's, as far as they fit."""
    image_size: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one view at one image size, nothing frozen; other sizes cost in proportion to their area."""

    view_s: float
    image_size: int

    @classmethod
    def measured(cls, view_s: float, recipe: Recipe) -> Cost:
        """From the seconds of a view with this recipe."""
        return cls(view_s / _share(recipe), recipe.image_size)

    def fit_s(self, images: int, recipe: Recipe) -> float:
        share = _share(recipe)
        return images * recipe.epochs * self.view_s * share * (recipe.image_size / self.image_size) ** 2

    def folds_s(self, images: int, folds: int, recipe: Recipe) -> float:
        return max(0, folds - 1) * self.fit_s(images, recipe)


def _share(recipe: Recipe) -> float:
    """A frozen backbone saves about a third (no gradients below the neck)."""
    return 1.0 - 0.3 * recipe.frozen_share if recipe.freeze >= 10 else 1.0


def plan(budget_s: float, images: int, groups: int, recipe: Recipe, cost: Cost) -> Plan:
    """Folds, epochs and image size for the default recipe: cross-validated trials and a final fit, or less if that does
    not fit."""
    size, fits = _size(budget_s, images, recipe, cost)
    shortened = max(1, int(recipe.epochs * min(1.0, fits)))
    if groups < 2:
        return Plan(0, shortened, size)
    for least, folds in FOLDS_FOR:
        if fits >= least:
            return Plan(min(folds, groups), recipe.epochs, size)
    # The final fit comes first; what is left over goes to the trial, unless that is next to nothing.
    share = fits - 1 if fits >= ENOUGH else fits / 2
    if share >= LEAST_OF_EPOCHS:
        return Plan(2, int(recipe.epochs * share), size)
    return Plan(0, shortened, size)


def _size(budget_s: float, images: int, recipe: Recipe, cost: Cost) -> tuple[int, float]:
    """The largest image size at which the budget allows ENOUGH fits, or the smallest, and how many it allows there."""
    size, fits = recipe.image_size, 0.0
    for share in SIZES:
        size = min(recipe.image_size, rounded_size(share * recipe.image_size, lowest=SMALLEST_PX))
        fits = SAFETY * budget_s / max(cost.fit_s(images, recipe.with_(image_size=size)), 1e-9)
        if fits >= ENOUGH:
            break
    return size, fits


def epochs_within(seconds: float, images: int, recipe: Recipe, cost: Cost) -> int:
    """As many of the recipe's epochs as fit, at least 1."""
    fitting = SAFETY * seconds * recipe.epochs / max(cost.fit_s(images, recipe), 1e-9)
    return max(1, min(recipe.epochs, int(fitting)))


def first_epochs(left_s: float, images: int, recipe: Recipe, made: Plan, cost: Cost) -> int:
    """Of the fit that comes first: as many as leave the default its trial, and a usable detector soon."""
    trial = cost.folds_s(images, made.folds, recipe.with_(epochs=made.epochs))
    return epochs_within(min(left_s - trial, SOON_S), images, recipe, cost)


def replanned(left_s: float, images: int, recipe: Recipe, made: Plan, cost: Cost) -> Plan:
    """What is left for the default's trial once the first fit has shown what a view costs while others use the machine:
    fewer folds, then fewer epochs, then none."""
    for folds in range(made.folds, 1, -1):
        if cost.folds_s(images, folds, recipe.with_(epochs=made.epochs)) <= SAFETY * left_s:
            return replace(made, folds=folds)
    share = SAFETY * left_s / max(cost.fit_s(images, recipe), 1e-9)
    if made.folds and share >= LEAST_OF_EPOCHS:
        return replace(made, folds=2, epochs=max(1, min(made.epochs, int(recipe.epochs * share))))
    return replace(made, folds=0)
