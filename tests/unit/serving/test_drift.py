"""Whether what an endpoint sees has changed: the verdict, how often it is wrong, and the hours on disk."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from tenshot.automl.novelty import Novelty, strangeness, unit
from tenshot.automl.training import familiar
from tenshot.automl.usual import Usual
from tenshot.serving.endpoints import drift_file
from tenshot.serving.endpoints.drift import Drift, Tallies, Verdict, add, bin_of, chance_of, compare
from tenshot.serving.endpoints.drift_file import Recorder, append, by_hour, newest, path_in, read

HOUR = 500_000
USUAL = Usual({"strangeness": np.linspace(-1.0, 0.0, 50)})


def tallies(values: np.ndarray, signal: str = "strangeness") -> Tallies:
    found: Tallies = {}
    for value in values:
        add(found, {signal: float(value)})
    return found


class TestVerdict:
    @pytest.mark.parametrize(
        ("seen", "verdict"),
        [
            pytest.param(np.linspace(-1, 0, 200), Verdict.USUAL, id="the same"),
            pytest.param(np.linspace(1, 2, 200), Verdict.DRIFTED, id="far"),
            pytest.param(np.linspace(-3, -2, 200), Verdict.DRIFTED, id="one image again and again"),
            pytest.param(np.linspace(-0.9, 0.1, 200), Verdict.USUAL, id="a little"),
            pytest.param(np.linspace(1, 2, 29), Verdict.UNKNOWN, id="too few"),
            pytest.param(np.zeros(0), Verdict.UNKNOWN, id="none"),
        ],
    )
    def test_of_one_signal(self, seen: np.ndarray, verdict: Verdict) -> None:
        found = compare(USUAL, tallies(seen))
        assert (found.verdict, found.images) == (verdict, len(seen))
        assert (found.distance is None) == (verdict is Verdict.UNKNOWN)

    def test_numbers_by_hand(self) -> None:
        found = compare(Usual({"boxes": np.array([1.0, 1.0, 2.0, 4.0])}), tallies(np.repeat([2, 4], 20), "boxes"))
        assert found.worst is not None
        assert found.distance == 0.5
        assert found.worst.shift == pytest.approx((3.0 - 2.0) / np.sqrt(2.0))
        assert found.to_json()["signals"]["boxes"]["images"] == 40
        assert compare(USUAL, tallies(np.full(40, 2.0))).distance == 1.0

    def test_nothing_to_compare_with(self) -> None:
        assert compare(None, tallies(np.ones(99))) == Drift(Verdict.UNAVAILABLE, 99)
        assert compare(USUAL, tallies(np.ones(99), "boxes")).verdict is Verdict.UNKNOWN

    def test_training_images_that_are_all_alike(self) -> None:
        found = compare(Usual({"strangeness": np.zeros(40)}), tallies(np.full(40, 1.0)))
        assert found.verdict is Verdict.DRIFTED
        assert found.worst is not None
        assert found.worst.shift is None

    @pytest.mark.parametrize(
        ("signal", "value", "place"), [("confidence", 0.29, 29), ("strangeness", -0.01, -1), ("boxes", 3, 3)]
    )
    def test_bins(self, signal: str, value: float, place: int) -> None:
        assert bin_of(signal, value) == place

    @pytest.mark.parametrize(("one", "other"), [(10, 1000), (50, 50), (1000, 400)])
    def test_chance_is_that_of_scipy(self, one: int, other: int) -> None:
        for distance in (0.05, 0.1, 0.3, 0.5, 0.8):
            exact = stats.kstwo.sf(distance, round(one * other / (one + other)))
            assert chance_of(distance, one, other) == pytest.approx(exact, rel=0.25, abs=2e-3)


def draw(random: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    which = random.integers(len(centres), size=count)
    return unit((centres[which] + 0.6 * random.normal(size=(count, centres.shape[1]))).astype("f4"))


def learned(rows: np.ndarray) -> tuple[Novelty, Usual]:
    found = familiar.fit(rows, np.arange(len(rows)))
    assert found is not None
    assert found[0].alone is not None
    return found[0], Usual({"strangeness": np.sort(found[0].alone)})


class TestHowOftenItIsWrong:
    """Descriptors of four kinds of things; each draw is a training of its own and hours that follow it."""

    @pytest.mark.parametrize(("count", "most"), [(10, 1), (50, 0), (200, 0)])
    def test_fresh_draws_of_the_same_do_not_alarm(self, count: int, most: int) -> None:
        """Ten images may lack a kind of things; then what comes is new, and every hour of that version says so."""
        hours = [[self.hour(seed, count, seen, 0.0).verdict for seen in (30, 400)] for seed in range(20)]
        assert sum(Verdict.DRIFTED in verdicts for verdicts in hours) <= most
        assert all(Verdict.UNKNOWN not in verdicts for verdicts in hours)

    @pytest.mark.parametrize(("count", "least"), [(10, 0.6), (50, 0.95), (200, 0.95)])
    def test_a_shift_of_all_does(self, count: int, least: float) -> None:
        alarms = [self.hour(seed, count, 100, 1.0).verdict is Verdict.DRIFTED for seed in range(15)]
        assert np.mean(alarms) >= least

    def hour(self, seed: int, count: int, seen: int, moved: float) -> Drift:
        random = np.random.default_rng(1000 * count + seed)
        centres = random.normal(size=(4, 64))
        novelty, usual = learned(draw(random, centres, count))
        rows = draw(random, centres + moved * random.normal(size=64), seen)
        return compare(usual, tallies(strangeness(rows, novelty.rows)))


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """Noisy discs and stripes in front of grey, [64, 64] 0…1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    found = []
    for _ in range(count):
        cx, cy, size, tone = (
            random.uniform(20, 44),
            random.uniform(20, 44),
            random.uniform(8, 20),
            random.uniform(0.5, 1),
        )
        shape = (x - cx) ** 2 + (y - cy) ** 2 < size**2 if random.random() < 0.5 else (x + cx) % size < size / 2
        found.append(np.clip(0.3 + (tone - 0.3) * shape + 0.05 * random.normal(size=(64, 64)), 0, 1).astype("f4"))
    return found


def described(images: list[np.ndarray]) -> np.ndarray:
    """Descriptors of gradients and tones, of unit length: a stand-in for a network's frozen stages."""
    rows = []
    for image in images:
        dx, dy = cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1)
        angles = np.histogram(np.arctan2(dy, dx), 12, (-np.pi, np.pi), weights=np.hypot(dx, dy))[0] / image.size
        rows.append(np.concatenate([angles, np.histogram(image, 8, (0, 1))[0] / image.size]))
    return unit(np.array(rows, "f4"))


class TestRealShifts:
    """The same pictures, changed as cameras and lamps change them."""

    @pytest.mark.parametrize(
        ("change", "verdict"),
        [
            pytest.param(lambda image: image, Verdict.USUAL, id="fresh ones"),
            pytest.param(lambda image: 0.35 * image, Verdict.DRIFTED, id="darkened"),
            pytest.param(lambda image: cv2.GaussianBlur(image, (0, 0), 4), Verdict.DRIFTED, id="blurred"),
            pytest.param(lambda image: 1 - image, Verdict.DRIFTED, id="inverted"),
            pytest.param(lambda image: np.full_like(image, image.mean()), Verdict.DRIFTED, id="lens cap"),
        ],
    )
    def test_is_told(self, change, verdict: Verdict) -> None:  # type: ignore[no-untyped-def]
        novelty, usual = learned(described(pictures(60, 1)))
        for seed in range(2, 7):
            rows = described([change(image) for image in pictures(80, seed)])
            assert compare(usual, tallies(strangeness(rows, novelty.rows))).verdict is verdict


class TestFile:
    def test_lines_add_up_by_hour(self, tmp_path: Path) -> None:
        path = path_in(tmp_path)
        assert read(path) == {}
        append(path, HOUR + 1, {"strangeness": Counter({-3: 2})})
        append(path, HOUR, {"strangeness": Counter({-3: 1})})
        append(path, HOUR + 1, {"strangeness": Counter({-3: 1, 7: 4}), "boxes": Counter({0: 9})})
        assert read(path) == {
            HOUR: {"strangeness": {-3: 1}}, HOUR + 1: {"strangeness": {-3: 3, 7: 4}, "boxes": {0: 9}},
        }  # fmt: skip
        assert [at for at, _ in by_hour(USUAL, path)] == [HOUR * 3600, (HOUR + 1) * 3600]

    @pytest.mark.parametrize(
        "broken",
        [b'{"hour": 5', b"[]", b'{"hour": 1, "signals": 3}', b"\xff\xfe", b'{"hour":1,"signals":{"a":{"b":1}}}'],
    )
    def test_a_torn_line_spoils_nothing(self, broken: bytes, tmp_path: Path) -> None:
        path = path_in(tmp_path)
        append(path, HOUR, {"boxes": Counter({1: 1})})
        with path.open("ab") as stream:
            stream.write(broken)
        append(path, HOUR, {"boxes": Counter({1: 1})})
        assert read(path)[HOUR] == {"boxes": {1: 2}}

    def test_stays_small(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(drift_file, "LIMIT_BYTES", 20_000)
        monkeypatch.setattr(drift_file, "KEPT_HOURS", 24)
        path = path_in(tmp_path)
        for hour in range(200):
            for _ in range(5):
                append(path, HOUR + hour, {"strangeness": Counter(range(-20, 20))})
                assert path.stat().st_size < 21_500
        hours = read(path)
        assert set(range(HOUR + 176, HOUR + 200)) <= set(hours)
        assert all(bins["strangeness"] == Counter(dict.fromkeys(range(-20, 20), 5)) for bins in hours.values())

    def test_many_processes_lose_and_double_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(drift_file, "LIMIT_BYTES", 3_000)
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write, args=(path_in(tmp_path), 100)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(40)
        assert [writer.exitcode for writer in writers] == [0] * 4
        assert read(path_in(tmp_path)) == {HOUR: {"boxes": {3: 400}, "side": {5: 400}}}

    def test_newest_is_the_last_hour_with_enough(self) -> None:
        few, many = tallies(np.full(3, -0.5)), tallies(np.full(50, 2.0))
        at = HOUR * 3600 + 60.0
        assert newest(USUAL, {HOUR - 1: many, HOUR: few}, at).images == 50
        assert newest(USUAL, {HOUR - 1: many, HOUR: tallies(np.full(40, -0.5))}, at).images == 40
        assert newest(USUAL, {HOUR - 2: many, HOUR: few}, at).verdict is Verdict.UNKNOWN
        assert newest(USUAL, {}, at).images == 0


def _write(path: Path, times: int) -> None:
    for _ in range(times):
        append(path, HOUR, {"boxes": Counter({3: 1}), "side": Counter({5: 1})})


class TestRecorder:
    def test_two_workers_and_a_restart_make_one_sum(self, tmp_path: Path) -> None:
        told: list[Drift] = []
        clock = lambda: HOUR * 3600.0  # noqa: E731
        one, two = (Recorder(path_in(tmp_path), USUAL, told.append, clock) for _ in range(2))
        for worker in (one, two, one):
            for _ in range(20):
                worker.seen({"strangeness": 2.0})
            worker.flush()
            worker.flush()
        again = Recorder(path_in(tmp_path), USUAL, told.append, clock)
        again.start()
        again.seen({"strangeness": 2.0})
        again.stop()
        assert [drift.images for drift in told][:6] == [20, 20, 40, 40, 60, 60]
        assert (told[-1].images, told[-1].verdict) == (61, Verdict.DRIFTED)
        assert told[0].verdict is Verdict.UNKNOWN

    def test_what_a_full_disk_refuses_is_written_later(self, tmp_path: Path) -> None:
        folder = tmp_path / "gone"
        worker = Recorder(path_in(folder), USUAL, clock=lambda: HOUR * 3600.0)
        for _ in range(3):
            worker.seen({"strangeness": 0.0})
            worker.flush()
        folder.mkdir()
        worker.flush()
        assert read(path_in(folder)) == {HOUR: {"strangeness": {0: 3}}}

    def test_without_a_folder_it_goes_by_what_it_saw(self) -> None:
        told: list[Drift] = []
        at = [HOUR * 3600.0]
        worker = Recorder(None, USUAL, told.append, lambda: at[0])
        for _ in range(5):
            for _ in range(30):
                worker.seen({"strangeness": 2.0})
            worker.flush()
            at[0] += 3600
        assert [drift.images for drift in told] == [30] * 5
        assert len(worker._hours) <= 3

    def test_without_a_yardstick_nothing_is_written(self, tmp_path: Path) -> None:
        worker = Recorder(path_in(tmp_path), None)
        worker.start()
        worker.seen({"confidence": 0.5})
        worker.stop()
        assert list(tmp_path.iterdir()) == []

    def test_says_nothing_of_an_image(self, tmp_path: Path) -> None:
        worker = Recorder(path_in(tmp_path), USUAL, clock=lambda: HOUR * 3600.0)
        worker.seen({"strangeness": -0.123456})
        worker.flush()
        assert json.loads(path_in(tmp_path).read_text()) == {"hour": HOUR, "signals": {"strangeness": {"-7": 1}}}
