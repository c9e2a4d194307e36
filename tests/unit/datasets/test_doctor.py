"""What `dataset check` finds, and what it leaves alone."""

from __future__ import annotations

import io
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from tenshot.datasets import doctor, duplicates, snapshots
from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.checks import SEEING, near_duplicates
from tenshot.datasets.duplicates import Fingerprint, fingerprint, group_numbers, near_duplicate_groups, near_rows
from tenshot.datasets.findings import MAX_EXAMPLES, Inspection
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import MissingDependencyError, WeightsError
from tenshot.projects.status import Task


def scene(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """A picture with structure at all scales, as photos have."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return Image.blend(image, grain, 0.2)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def add(workspace, image: Image.Image, name: str, split="train", labels=("a",), boxes=(), labeled=True) -> Entry:
    added = ImageStore.of(workspace).add(encode(image), name)
    return Entry(added.sha256, name, added.width_px, added.height_px, split, tuple(labels), tuple(boxes), labeled)


def check(workspace, entries, task=Task.CLASSIFICATION, fast=True) -> doctor.DatasetCheck:
    workspace.store.create_project("p", task, at=0)
    sha256, stats = snapshots.write(workspace, entries)
    workspace.store.add_dataset_version("p", snapshot_sha256=sha256, parent=None, source="", stats=stats, at=0)
    return doctor.check(workspace, "p", fast=fast)


def pairs(prints: list[Fingerprint]) -> list[tuple[int, int]]:
    return [(row, other) for row, columns, _ in near_rows(prints) for other in columns.tolist()]


def codes(found: doctor.DatasetCheck) -> dict[str, str]:
    return {finding.code: finding.severity for finding in found.findings}


def balanced(workspace) -> list[Entry]:
    entries = [add(workspace, scene(n), f"{n}.png", labels=("a" if n % 2 else "b",)) for n in range(12)]
    return [
        *entries,
        add(workspace, scene(50), "50.png", "test", ("a",)),
        add(workspace, scene(51), "51.png", "test", ("b",)),
    ]


def test_nothing_to_say_about_a_good_set(workspace):
    found = check(workspace, balanced(workspace))
    assert (found.findings, found.ok) == ([], True)
    assert found.images == {"train": 12, "test": 2}
    assert found.labels == {"a": {"train": 6, "test": 1}, "b": {"train": 6, "test": 1}}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda i: Image.open(io.BytesIO(encode(i, "JPEG", quality=60))), id="jpeg"),
        pytest.param(lambda i: i.resize((80, 60)), id="half-size"),
        pytest.param(lambda i: ImageEnhance.Brightness(i).enhance(0.9), id="darker"),
        pytest.param(lambda i: i.convert("L"), id="grey"),
    ],
)
def test_copies_are_near_duplicates_and_others_are_not(change):
    prints = [fingerprint(encode(scene(n))) for n in range(20)]
    assert pairs([*prints, fingerprint(encode(change(scene(3))))]) == [(3, 20)]


def test_flat_images_are_like_no_other():
    assert pairs([fingerprint(encode(Image.new("RGB", (50, 50), (v, v, v)))) for v in (0, 100, 255)]) == []
    assert pairs([]) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [0, 1, 2, 3, 4, 5], id="none"),
        pytest.param([(1, [3]), (3, [5])], [0, 1, 2, 1, 3, 1], id="over others"),
        pytest.param([(0, [1]), (2, [3]), (3, [4, 5]), (1, [4])], [0] * 6, id="two groups become one"),
    ],
)
def test_groups(rows, expected):
    ones = [(row, np.array(columns), np.ones(len(columns), np.float32)) for row, columns in rows]
    assert group_numbers(6, ones) == expected


def test_pairs_of_ten_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    miniatures = rng.standard_normal((10_000, 1024)).astype(np.float32)
    miniatures /= np.linalg.norm(miniatures, axis=1, keepdims=True)
    hashes = rng.integers(0, 2**63, 10_000)
    prints = [Fingerprint(int(hashes[n]), miniatures[n]) for n in range(10_000)]
    start = time.monotonic()
    assert pairs([*prints, prints[4321]]) == [(4321, 10_000)]
    assert time.monotonic() - start < 30


def test_frames_of_one_scene_are_counted_without_holding_their_pairs(monkeypatch):
    """3,000 frames and a twin in the other split: its leaks are counted although millions of other pairs come first."""
    monkeypatch.setattr(duplicates, "_ROWS", 100)
    one = fingerprint(encode(scene(0)))
    entries = [Entry(str(n), str(n), 1, 1, "test" if n == 2999 else "train", ("a",)) for n in range(3000)]
    seen = Inspection(None, Task.CLASSIFICATION, entries, {e.image: one for e in entries}, {})
    tracemalloc.start()
    found = {f.code: f for f in near_duplicates.check(seen)}
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert (found["leak"].count, found["near-duplicates"].count) == (2999, 2999 * 2998 // 2)
    assert found["leak"].examples[0] == "0 (train) ~ 2999 (test)"
    assert len(found["leak"].examples) == MAX_EXAMPLES
    assert set(group_numbers(3000, near_rows([one] * 3000))) == {0}


def test_leak_and_contradiction_and_groups(workspace):
    entries = balanced(workspace)
    entries.append(add(workspace, scene(0).resize((80, 60)), "leak.png", "test", ("b",)))
    entries.append(add(workspace, scene(1).resize((80, 60)), "other.png", "train", ("b",)))
    found = check(workspace, entries)
    assert codes(found) == {"leak": "error", "contradiction": "warning", "near-duplicates": "info"}
    assert not found.ok
    assert {"0.png (train)", "leak.png (test)"} == set(found.findings[0].examples[0].split(" ~ "))
    groups = near_duplicate_groups(workspace, entries)
    by_name = {entry.name: groups[entry.image] for entry in entries}
    assert by_name["0.png"] == by_name["leak.png"] != by_name["1.png"] == by_name["other.png"]
    assert len(set(groups.values())) == 14


def test_leaks_name_each_test_image_once(workspace):
    train = [add(workspace, scene(n), f"{n}.png") for n in range(4)]
    train.append(add(workspace, scene(0).resize((96, 72)), "twin.png"))
    test = [add(workspace, scene(n).resize((80, 60)), f"copy {n}.png", "test") for n in (0, 2)]
    test.append(add(workspace, scene(90), "other.png", "test"))
    found = {one.name: other.name for one, other in duplicates.leaks(workspace, train, test)}
    assert found == {"copy 0.png": "0.png", "copy 2.png": "2.png"}
    assert duplicates.leaks(workspace, train, []) == []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(MissingDependencyError("train", "torch"), id="no extra"),
        pytest.param(WeightsError("the weights are not here", hint="tenshot models pull x"), id="no weights"),
    ],
)
def test_what_cannot_look_is_left_out_and_said(workspace, monkeypatch, error):
    def fail(seen):
        raise error

    monkeypatch.setattr(SEEING, "get", lambda name: fail)
    found = check(workspace, balanced(workspace), fast=False)
    (said,) = found.findings
    assert (said.code, said.severity, said.advice) == ("left-out", "info", error.hint)
    assert error.message in said.message
    assert found.ok


def test_unreadable(workspace):
    entries = balanced(workspace)
    store = ImageStore.of(workspace)
    store.path(entries[0].image).unlink()
    store.path(entries[1].image).write_bytes(b"x")
    found = check(workspace, entries)
    assert codes(found) == {"unreadable": "error"}
    assert found.findings[0].count == 2
    assert any("have changed" in example for example in found.findings[0].examples)


BOX = Box("a", 0.25, 0.25, 0.5, 0.5)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        pytest.param({"boxes": (BOX, Box("a", 0.5, 0.5, 0.005, 0.2))}, {"tiny-boxes": "warning"}, id="tiny-ratio"),
        pytest.param({"boxes": (BOX, Box("a", 0.5, 0.5, 0.012, 0.2))}, {"tiny-boxes": "warning"}, id="tiny-at-640"),
        pytest.param({"boxes": (BOX, Box("a", 0.5, 0.5, 0.02, 0.2))}, {}, id="small-but-visible"),
        pytest.param({"boxes": (Box("a", 0.01, 0.01, 0.98, 0.97),)}, {"giant-boxes": "warning"}, id="giant"),
        pytest.param({"boxes": (Box("a", 0.0, 0.4, 1.0, 0.2),)}, {}, id="wide-is-not-giant"),
        pytest.param({"boxes": ()}, {"negatives": "info"}, id="negative"),
        pytest.param({"boxes": (), "labeled": False}, {"unlabeled": "warning"}, id="unlabeled"),
        pytest.param(
            {"boxes": (Box("A ", 0.1, 0.1, 0.5, 0.5),)}, {"spelling": "warning", "few-images": "warning"}, id="spelling"
        ),
    ],
)
def test_boxes(extra, expected, workspace):
    entries = [add(workspace, scene(n), f"{n}.png", labels=(), boxes=(BOX,)) for n in range(6)]
    entries.append(add(workspace, scene(60), "60.png", "test", (), (BOX,)))
    entries.append(add(workspace, scene(61), "61.png", "train", (), **extra))
    assert codes(check(workspace, entries, Task.DETECTION)) == expected


def test_amounts(workspace):
    entries = [add(workspace, scene(n), f"{n}.png") for n in range(20)]
    entries.append(add(workspace, scene(40), "40.png", labels=("rare",)))
    entries.append(add(workspace, scene(41, 900, 700), "41.png", "test", labels=("new",)))
    found = check(workspace, entries)
    assert codes(found) == {
        "unknown-test-label": "error",
        "few-images": "warning",
        "imbalance": "warning",
        "sizes": "info",
    }
    assert found.findings[1].examples == ["rare: 1"]


def test_one_label_and_no_test(workspace):
    found = check(workspace, [add(workspace, scene(n), f"{n}.png") for n in range(6)])
    assert codes(found) == {"one-label": "error", "no-test": "info"}


def test_no_labels_at_all(workspace):
    found = check(workspace, [add(workspace, scene(0), "0.png", labels=(), labeled=False)])
    assert codes(found) == {"no-training-images": "error", "unlabeled": "warning"}
