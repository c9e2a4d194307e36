"""The report renders for every task, needs nothing from outside, escapes what users named, and stays small."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tenshot.automl.bundle import Base
from tenshot.automl.evaluation import advice, calibration, evaluate, plots, thresholds
from tenshot.automl.evaluation.mistakes import thumbnail, worst
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.evaluation.report import LARGEST_BYTES, ReportInput, TrainingCurve, render
from tenshot.automl.scores import Calibration
from tenshot.automl.trials import Trial
from tenshot.projects.errors import EmptyDataError, NotFoundError
from tenshot.projects.status import Task

EVIL = "<script>alert(1)</script>"
LABELS = ("plain", EVIL, 'quote " & $x_1$ label')


def photo(image: str) -> np.ndarray:
    random = np.random.default_rng(int(image, 16))
    return random.integers(0, 255, (480, 640, 3), np.uint8)


def report_of(task: Task, oof, test=None, **more) -> ReportInput:
    fitted = calibration.fit(oof)
    oof, test = calibration.apply_to(oof, fitted), test and calibration.apply_to(test, fitted)
    chosen = thresholds.choose(oof)
    return ReportInput(
        project="p",
        version="p@1",
        task=task,
        created_at=0.0,
        labels=oof.labels,
        dataset_version=1,
        dataset_stats={"train": {"images": len(oof), "labels": dict.fromkeys(oof.labels, 4)}, "refused": 2},
        oof=oof,
        oof_evaluation=evaluate.evaluate(oof, chosen),
        thresholds=chosen,
        calibration=fitted,
        base=Base("base", "0" * 64, "Apache-2.0", "package 1.0"),
        test=test,
        test_evaluation=evaluate.evaluate(test, chosen) if test else None,
        **({"load_image": photo} | more),
    )


@pytest.fixture(scope="module", params=list(Task), ids=str)
def report(request, make_classified, make_detected) -> ReportInput:
    if request.param is Task.DETECTION:
        sides = [make_detected(seed, 12, 3) for seed in (1, 2)]
        sides = [type(s)(LABELS, s.images, s.truth, s.predictions) for s in sides]
    else:
        exclusive = request.param is Task.CLASSIFICATION
        sides = [make_classified(seed, 30, LABELS, exclusive=exclusive, signal=2.0) for seed in (1, 2)]
    return report_of(
        request.param,
        *sides,
        curves=[TrainingCurve(EVIL, [(0, 1.0), (1, 0.5)], "loss")],
        trials=[
            Trial(0, "head", {"learning_rate": 0.00123456, "name": EVIL}, 0.8, 0.05, 3.0, "complete"),
            Trial(1, "head", {}, None, None, 1.0, "failed"),
            Trial(2, "head", {}, float("nan"), None, 1.0, "failed"),
        ],
        timings={"search": 75.0, "export": 0.01},
        warnings=[f"something about {EVIL}"],
        environment={"cores": 2, "git": EVIL},
        parity=1e-6,
        names={f"{i:064x}": f"{EVIL}{i}.jpg" for i in range(30)},
    )


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    return render(report, tmp_path_factory.mktemp("reports") / "folder" / "report.html")


class Reader(HTMLParser):
    """What a browser would load or run, and whether the elements nest."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href", "action", "data")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def test_renders_whole_and_alone(report, path):
    page = path.read_text("utf-8")
    reader = read(page)
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in reader.links)
    assert sum(link.startswith("data:") for link in reader.links) > 0
    assert not re.search(r"url\((?!#)|@import|http-equiv=.refresh", page)
    assert not re.findall(r">\s*(?:nan|None|-?inf)\b", page)
    assert path.stat().st_size <= LARGEST_BYTES
    assert not list(path.parent.glob("*.tmp"))
    for heading in ("Metrics", "Labels and thresholds", "Curves", "Search", "Training", "Data", "How to use it"):
        assert f"<h2>{heading}</h2>" in page
    assert ("Confusion matrix" in page) == (report.task is Task.CLASSIFICATION)


def test_user_text_is_escaped(path):
    page = path.read_text("utf-8")
    reader = read(page)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "script" not in reader.tags
    assert not reader.handlers


def test_plots_do_not_share_ids(path):
    """Every plot brings clip paths and markers of its own; a shared id would let one plot clip another."""
    page = path.read_text("utf-8")
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert wanted <= set(reader.ids)
    assert "#0a0" not in page  # every stand-in colour became a variable


def test_headline_says_how_it_was_measured(make_classified, tmp_path):
    oof, test = make_classified(1, 12, ("a", "b")), make_classified(2, 90, ("a", "b"))
    alone = render(report_of(Task.CLASSIFICATION, oof), tmp_path / "1.html").read_text("utf-8")
    tested = render(report_of(Task.CLASSIFICATION, oof, test), tmp_path / "2.html").read_text("utf-8")
    assert "Cross-validated on the 12 training images" in alone
    assert "Measured once on 90 test images" in tested


def test_without_held_out_images_only_the_test_split_speaks(make_classified, tmp_path):
    report = report_of(Task.CLASSIFICATION, make_classified(1, 4, ("a", "b")), make_classified(2, 90, ("a", "b")))
    page = render(replace(report, oof=None, oof_evaluation=None), tmp_path / "r.html").read_text("utf-8")
    assert "Measured once on 90 test images" in page
    assert "ross-validated" not in page


def test_nothing_measured_is_refused(make_classified, tmp_path):
    report = report_of(Task.CLASSIFICATION, make_classified(1, 4, ("a", "b")))
    with pytest.raises(EmptyDataError):
        render(replace(report, oof=None, oof_evaluation=None), tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_what_is_unlike_the_training_images_is_shown(make_classified, tmp_path):
    oof, test = make_classified(1, 12, ("a", "b")), make_classified(2, 30, ("a", "b"))
    novelty = np.zeros(30)
    novelty[[4, 17, 20]] = 0.05, 0.98, 0.3
    names = {image: f"photo {k}.jpg" for k, image in enumerate(test.images)}

    def page(test):
        report = report_of(Task.CLASSIFICATION, oof, test, names=names)
        return render(report, tmp_path / "r.html").read_text("utf-8")

    shown = page(test.judged(test.scores, novelty)).partition("Unlike the training images")[2]
    assert "2 of the 30 test images lie so far" in shown
    assert 0 < shown.index("novelty <b>0.98</b><br>photo 17.jpg") < shown.index("novelty <b>0.30</b><br>photo 20.jpg")
    assert "photo 4.jpg" not in shown
    assert "None of the 30 test images" in page(test.judged(test.scores, 0 * novelty))
    assert "Unlike the training images" not in page(test)


def test_unproven_is_said(make_detected, tmp_path):
    report = report_of(Task.DETECTION, make_detected(1, 6, 2))
    assert "map50" in report.oof_evaluation.unproven
    assert 'class="badge"' in render(report, tmp_path / "r.html").read_text("utf-8")


def test_five_hundred_labels_stay_readable_and_small(make_classified, tmp_path):
    oof = make_classified(0, 60, tuple(f"label {i}" for i in range(500)))
    page = render(report_of(Task.CLASSIFICATION, oof), tmp_path / "r.html").read_text("utf-8")
    assert "Most confused" in page
    assert "The first 200 of 500 labels" in page
    assert len(page.encode()) <= LARGEST_BYTES


def test_pictures_give_way_to_the_size_limit(make_classified, tmp_path, monkeypatch):
    report = report_of(Task.CLASSIFICATION, make_classified(1, 40, ("a", "b"), signal=0.0))
    whole = render(report, tmp_path / "whole.html").read_text("utf-8")
    monkeypatch.setattr("tenshot.automl.evaluation.report.LARGEST_BYTES", len(whole) // 2)
    fewer = render(report, tmp_path / "fewer.html").read_text("utf-8")
    assert 0 <= fewer.count("data:image/jpeg") < whole.count("data:image/jpeg")


def test_a_lost_picture_does_not_lose_the_report(make_classified, tmp_path):
    def lost(image):
        raise NotFoundError(f"no image {image}")

    report = report_of(Task.CLASSIFICATION, make_classified(1, 20, ("a", "b"), signal=0.0), load_image=lost)
    assert "picture not available" in render(report, tmp_path / "r.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((480, 640, 3), (320, 240), id="large"),
        pytest.param((2000, 100, 3), (16, 320), id="tall"),
        pytest.param((32, 32, 3), (192, 192), id="tiny is enlarged"),
        pytest.param((1, 1, 3), (161, 161), id="one pixel"),
    ],
)
def test_thumbnails(shape, expected):
    uri, width, height = thumbnail(lambda _: np.zeros(shape, np.uint8), "x")
    assert (width, height) == expected
    assert uri.startswith("data:image/jpeg;base64,")


def test_the_worst_mistake_comes_first(make_classified):
    outcome = make_classified(3, 50, ("a", "b"), signal=1.0)
    shown = worst(outcome, {}, photo)
    assert all(m.wrong for m in shown)
    sure = [(outcome.scores * ~outcome.truth).max(axis=1)[outcome.images.index(m.image)] for m in shown]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] == pytest.approx((outcome.scores * ~outcome.truth).max())


def test_multilabel_mistakes_name_what_was_missed_and_wrongly_said():
    truth, scores = np.array([[True, True, False, False]]), np.array([[0.9, 0.2, 0.7, 0.1]])
    outcome = ClassificationOutcome(("a", "b", "c", "d"), ("1",), truth, scores, scores, False)
    (shown,) = worst(outcome, {}, photo)
    assert (shown.truth, shown.said) == ("b (20%)", "c (70%)")


def test_without_mistakes_the_least_sure_are_shown(make_classified):
    shown = worst(make_classified(0, 10, ("a", "b"), signal=30.0), {}, photo)
    assert len(shown) == 4
    assert not any(m.wrong for m in shown)


def test_boxes_are_told_apart_by_colour_and_line(make_detected, tmp_path):
    report = report_of(Task.DETECTION, make_detected(1, 30, 2))
    kinds = {r.kind for m in worst(report.outcome, report.thresholds, photo) for r in m.rectangles}
    assert kinds == {"found", "missed", "right", "false"}
    css = re.search(r"<style>(.*?)</style>", render(report, tmp_path / "r.html").read_text("utf-8"), re.DOTALL)
    assert css is not None
    looks = {kind: re.search(rf"^\.{kind} {{(.*?)}}", css[1], re.MULTILINE)[1] for kind in kinds}
    colours = {re.search(r"stroke: (\S+);", look)[1] for look in looks.values()}
    assert len(colours) == 4
    dashes = {kind: "stroke-dasharray" in look for kind, look in looks.items()}
    assert dashes == {"found": False, "right": False, "missed": True, "false": True}


def test_legend_keeps_labels_that_look_like_markup():
    curve = {"recall": [0.5, 1.0], "precision": [1.0, 0.5], "threshold": [0.9, 0.1]}
    svg = plots.precision_recall({"_hidden": curve, "$a$": curve, EVIL: curve}, {})
    assert "_hidden" in svg
    assert "$a$" in svg
    assert "<script" not in svg


def test_advice_names_the_pair_and_the_label(make_classified):
    size, labels = 40, ("cat", "dog", "fox")
    truth = np.eye(3, dtype=bool)[np.arange(size) % 3]
    said = np.where(np.arange(size) % 3 == 1, 0, np.arange(size) % 3)  # every dog is taken for a cat
    scores = np.where(np.eye(3, dtype=bool)[said], 0.9, 0.05)
    outcome = ClassificationOutcome(labels, tuple(map(str, range(size))), truth, np.log(scores), scores, True)
    sentences = advice.advise(evaluate.evaluate(outcome), {"cat": 3, "dog": 20, "fox": 20}, tested=False)
    assert sentences[0].startswith("Add training images of cat (3)")
    assert "13 images of dog (100%) were taken for cat" in sentences[1]
    assert any("Set aside" in s for s in sentences)


def test_reliability_is_told_in_numbers_too(report, path):
    """Before and after calibration: how many scores each bin holds, and what share came true."""
    page = path.read_text("utf-8")
    table = page[page.index("Share that came true in each bin") :]
    table = table[: table.index("</table>")]
    counts = [int(n) for n in re.findall(r'class="range">(\d+)<', table)]
    bins = [*evaluate.reliability(report.outcome), *_raw_bins(report)]
    assert sum(counts) == sum(b["count"] for b in bins)
    for name in ("Brier score", "calibration error (ECE)"):
        assert re.search(rf"<td>{re.escape(name)}</td><td>\d\.\d+</td><td>\d\.\d+</td>", page)
    assert ("Nothing was changed" in page) == (report.calibration.method == "none")


def _raw_bins(report: ReportInput) -> list[dict]:
    return evaluate.reliability(calibration.apply_to(report.outcome, Calibration(report.calibration.kind)))


def test_thresholds_that_miss_what_was_asked_for_are_marked(make_detected, tmp_path):
    report = report_of(Task.DETECTION, make_detected(1, 12, 3))
    wanted = {"min_precision": 0.99, "min_recall": 0.9}
    missed = thresholds.shortfalls(report.outcome, report.thresholds, **wanted)
    assert missed
    page = render(replace(report, shortfalls=missed), tmp_path / "report.html").read_text("utf-8")
    assert page.count("below precision 0.99 and recall 0.90") == len(missed)
    assert all(m.reached in page for m in missed)
    assert "below precision" not in render(report, tmp_path / "plain.html").read_text("utf-8")
