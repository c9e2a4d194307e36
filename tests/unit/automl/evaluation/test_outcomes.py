"""What a model said, kept and read again."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import evaluate, outcomes


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("known", [True, False], ids=["novelty", "no novelty"])
def test_kept_and_read_again(make_classified, tmp_path, exclusive, known):
    plain = make_classified(1, 20, ("a", "b", "ä ß"), exclusive=exclusive)
    written = plain.judged(plain.scores, np.linspace(0, 0.9, 20)) if known else plain
    outcomes.save(written, tmp_path / "deep" / "o.npz")
    found = outcomes.load(tmp_path / "deep" / "o.npz")
    assert (found.labels, found.images, found.exclusive) == (written.labels, written.images, written.exclusive)
    for name in ("truth", "raw", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    assert (found.novelty is None) is not known
    if known:
        np.testing.assert_array_equal(found.novelty, written.novelty)


def test_detections_kept_and_read_again(make_detected, tmp_path):
    written = make_detected(1, 9, 3)
    outcomes.save(written, tmp_path / "o.npz")
    found = outcomes.load(tmp_path / "o.npz")
    assert (found.labels, found.images) == (written.labels, written.images)
    for mine, theirs in zip([*found.truth, *found.predictions], [*written.truth, *written.predictions], strict=True):
        np.testing.assert_array_equal(mine.xyxy, theirs.xyxy)
        np.testing.assert_array_equal(mine.score, theirs.score)


def test_novelty_takes_its_share_once(make_classified):
    plain = make_classified(1, 10, ("a", "b"))
    novelty = np.linspace(0, 0.9, 10)
    once = plain.judged(plain.scores, novelty)
    np.testing.assert_allclose(once.scores, plain.scores * (1 - novelty)[:, None])
    again = once.judged(plain.scores)
    np.testing.assert_array_equal(again.scores, once.scores)
    np.testing.assert_array_equal(again.novelty, novelty)
    assert plain.judged(plain.scores).novelty is None


def test_versions_are_compared_with_it(make_classified):
    """A version that takes confidence away is compared by what it serves, on the images that both have."""
    plain = make_classified(1, 40, ("a", "b"), signal=6.0)
    cautious = plain.judged(plain.scores, np.full(40, 0.5))
    found = evaluate.compare(plain, cautious)
    assert (found["images"], found["difference"]) == (40, 0.0), "what is best stays best"
