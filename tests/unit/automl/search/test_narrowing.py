"""A user's own search space: what it may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenshot.automl.search.detection_narrowing import narrowed_detection
from tenshot.automl.search.detection_space import Choices, Range, Space, default_params, parse, space
from tenshot.automl.search.narrowing import check, narrowed, own_space, read
from tenshot.automl.search.space import Space as Kind
from tenshot.automl.search.space import load
from tenshot.projects.errors import SettingsError
from tenshot.projects.workspace import Workspace

CHOICES: dict[str, list[Any]] = {
    "policy": ["crop", "hflip", "colour", "plain"],
    "taps": ["3+7", "7"],
    "strength": [0.01, 100.0],
    "standardise": [True, False],
}
DEFAULT = {"policy": "hflip", "taps": "3+7", "strength": 1.0, "standardise": True}
FROZEN = Kind("frozen", CHOICES, DEFAULT, ({**DEFAULT, "taps": "7", "policy": "crop"},))
TUNED = Kind("finetune", {"start": [4, 5, 6], "lr": [0.0001, 0.002]}, {"start": 5, "lr": 0.0005})
DETECTION = parse(
    {
        "image_size": {"box_px": 36, "lowest": 416, "highest": 640},
        "epochs": {"views": 200, "lowest": 15, "highest": 64},
        "batch": {"share": 0.2, "lowest": 2, "highest": 8},
        "default": {"lr": 0.002},
        "first": [{"flipud": 0.5}, {"mosaic": 1.0}],
        "space": {
            "scale_of_size": {"choices": [0.8, 1.0]},
            "lr": {"low": 0.0005, "high": 0.005, "log": True},
            "mosaic": {"choices": [0.0, 0.5, 1.0]},
            "flipud": {"choices": [0.0, 0.5]},
        },
        "suppression": {"iou": [0.3, 0.45, 0.6], "max_detections": [50, 300]},
    },
    "product.yaml",
)


def narrowest(text: str) -> dict[str, Kind]:
    return narrowed({"frozen": FROZEN, "finetune": TUNED}, yaml.safe_load(text), "own.yaml")


def frozen(text: str) -> Kind:
    return narrowest(text)["frozen"]


@pytest.mark.parametrize(
    ("text", "key", "choices", "default"),
    [
        pytest.param("frozen: {policy: [plain, crop]}", "policy", ["plain", "crop"], "plain", id="fewer choices"),
        pytest.param("frozen: {policy: hflip}", "policy", ["hflip"], "hflip", id="one choice without brackets"),
        pytest.param(
            "frozen: {policy: [plain, hflip]}", "policy", ["plain", "hflip"], "hflip", id="the product's default stays"
        ),
        pytest.param(
            "{frozen: {policy: [plain, crop]}, default: {frozen: {policy: crop}}}",
            "policy", ["plain", "crop"], "crop", id="a default of one's own",
        ),
        pytest.param(
            "default: {frozen: {policy: crop}}", "policy", FROZEN.choices["policy"], "crop", id="only a default"
        ),
        pytest.param("frozen: {strength: [0.1, 10]}", "strength", [0.1, 10.0], 1.0, id="tighter range"),
        pytest.param("frozen: {strength: [2, 10]}", "strength", [2.0, 10.0], 2.0, id="range without the default"),
        pytest.param("frozen: {strength: 3}", "strength", [3.0, 3.0], 3.0, id="a range of one value"),
        pytest.param("frozen: {taps: [7]}", "taps", ["7"], "7", id="a number that is a text in the product's"),
        pytest.param("frozen: {standardise: false}", "standardise", [False], False, id="no is not a number"),
        pytest.param("{}", "policy", FROZEN.choices["policy"], FROZEN.default["policy"], id="nothing"),
    ],
)  # fmt: skip
def test_narrowed(text: str, key: str, choices: list[Any], default: Any) -> None:
    found = frozen(text)
    assert found.choices[key] == choices
    assert found.default[key] == default
    others = set(FROZEN.choices) - {key}
    assert all(found.choices[other] == FROZEN.choices[other] for other in others)
    assert all(found.default[other] == FROZEN.default[other] for other in others)


def test_known_recipes_stay_where_they_fit() -> None:
    assert frozen("frozen: {policy: [crop]}").known == FROZEN.known
    assert frozen("frozen: {policy: [plain]}").known == ()


@pytest.mark.parametrize("off", ["off", "no", "false"])
def test_a_kind_is_off(off: str) -> None:
    assert set(narrowest(f"finetune: {off}")) == {"frozen"}
    assert "finetune" not in load("classification", yaml.safe_load(f"finetune: {off}"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param("frozn: {policy: plain}", "unknown key 'frozn'", "did you mean frozen?", id="kind"),
        pytest.param("frozen: {polcy: plain}", "frozen: unknown key 'polcy'", "did you mean policy?", id="key"),
        pytest.param("frozen: {zzz: 1}", "frozen: unknown key 'zzz'", "known are policy, taps", id="nothing near"),
        pytest.param("frozen: {policy: [plane]}", "frozen.policy: got 'plane', expected some of", "plain", id="choice"),
        pytest.param("frozen: {policy: []}", "frozen.policy: got no choice", "", id="no choice"),
        pytest.param("frozen: {policy: }", "frozen.policy: got no choice", "", id="empty"),
        pytest.param("frozen: {strength: [0.001, 1]}", "got 0.001, expected a number from 0.01 to", "", id="below"),
        pytest.param("frozen: {strength: [1, 1000]}", "got 1000, expected a number from", "", id="above"),
        pytest.param("frozen: {strength: [10, 1]}", r"got \[10, 1\], expected \[low, high\]", "", id="wrong way round"),
        pytest.param("frozen: {strength: [1, 2, 3]}", "expected \\[low, high\\]", "", id="three ends"),
        pytest.param("frozen: {strength: high}", "expected \\[low, high\\]", "", id="a word for a range"),
        pytest.param("frozen: {standardise: 1}", "frozen.standardise: got 1", "", id="a number for yes"),
        pytest.param("frozen: [plain]", "frozen: got \\['plain'\\], expected keys", "", id="a list for a kind"),
        pytest.param("frozen: off", "frozen cannot be off", "", id="what others build upon"),
        pytest.param("{finetune: off, default: {finetune: {}}}", "finetune is off", "", id="off with a default"),
        pytest.param(
            "{frozen: {policy: [plain]}, default: {frozen: {policy: crop}}}",
            "default.frozen.policy: got 'crop', expected some of plain", "", id="a default that is not a choice",
        ),
        pytest.param("default: {frozen: {polcy: crop}}", "default.frozen: unknown key 'polcy'", "policy", id="default"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        narrowest(text)
    assert caught.value.message.startswith("own.yaml: ")
    assert hint in caught.value.hint


def narrow(text: str) -> Space:
    return narrowed_detection(yaml.safe_load(text), "own.yaml", DETECTION)


def test_detection_untouched() -> None:
    assert narrowed_detection({}) == space()


@pytest.mark.parametrize(
    ("text", "key", "expected", "default"),
    [
        pytest.param("space: {mosaic: [0.0]}", "mosaic", Choices(choices=(0.0,)), 0.0, id="one choice"),
        pytest.param("space: {mosaic: 1.0}", "mosaic", Choices(choices=(1.0,)), 1.0, id="without the default"),
        pytest.param("space: {mosaic: {choices: [1.0, 0.5]}}", "mosaic", Choices(choices=(1.0, 0.5)), 0.5, id="near"),
        pytest.param(
            "space: {lr: {low: 0.003}}", "lr", Range(low=0.003, high=0.005, log=True), 0.003, id="one end"
        ),
        pytest.param("space: {lr: [0.001, 0.003]}", "lr", Range(low=0.001, high=0.003, log=True), 0.002, id="ends"),
        pytest.param("default: {mosaic: 1.0}", "mosaic", DETECTION.space["mosaic"], 1.0, id="a default of one's own"),
    ],
)  # fmt: skip
def test_detection_narrowed(text: str, key: str, expected: Any, default: float) -> None:
    from tenshot.automl.search.detection_space import default_recipe

    found = narrow(text)
    assert found.space[key] == expected
    assert default_params(found, default_recipe([], found))[key] == default
    assert {k: v for k, v in found.space.items() if k != key} == {k: v for k, v in DETECTION.space.items() if k != key}
    # What is tried first can be drawn.
    for row in found.first:
        how = found.space[key]
        value = row.get(key, default)
        assert value in how.choices if isinstance(how, Choices) else how.low <= value <= how.high


def test_detection_limits_and_suppression() -> None:
    found = narrow("{image_size: {highest: 512}, suppression: {iou: [0.45]}}")
    assert found.image_size.highest == 512
    assert found.image_size.lowest == DETECTION.image_size.lowest
    assert found.suppression.iou == (0.45,)
    assert found.suppression.max_detections == DETECTION.suppression.max_detections


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param("spce: {}", "unknown key 'spce'", "did you mean space?", id="section"),
        pytest.param("space: {mosiac: 1}", "space: unknown key 'mosiac'", "did you mean mosaic?", id="key"),
        pytest.param("space: {mosaic: 0.7}", "space.mosaic: got 0.7, expected some of 0.0, 0.5, 1.0", "", id="choice"),
        pytest.param("space: {mosaic: often}", "space.mosaic: got 'often', expected a number", "", id="a word"),
        pytest.param("space: {lr: [0.001, 0.1]}", "expected a range within 0.0005 to 0.005", "", id="wider"),
        pytest.param("space: {lr: {lo: 0.001}}", "space.lr: unknown key 'lo'", "", id="end"),
        pytest.param("image_size: {box_px: 3}", "image_size: unknown key 'box_px'", "lowest", id="not for users"),
        pytest.param("image_size: {highest: 1280}", "image_size.highest: got 1280, expected", "", id="too large"),
        pytest.param("image_size: {highest: 500}", "image_size.highest", "", id="not a multiple of 32"),
        pytest.param("suppression: {iou: [0.2]}", "suppression.iou: got 0.2", "", id="suppression"),
        pytest.param("space: {scale_of_size: [0.8]}", "scale_of_size has to hold 1.0", "image_size", id="scale"),
        pytest.param("default: {mosaic: 0.7}", "default.mosaic: 0.7 is not among", "", id="default"),
    ],
)  # fmt: skip
def test_detection_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        narrow(text)
    assert caught.value.message.startswith("own.yaml: ")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("- frozen", "got a list, expected kinds", id="a list"),
        pytest.param("frozen: [", "is not valid YAML", id="not YAML"),
        pytest.param(None, "cannot be read", id="no file"),
    ],
)
def test_files_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "own.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read(path)


def test_where_it_comes_from(workspace: Workspace, tmp_path: Path) -> None:
    assert own_space(workspace, "classification", None) == {}
    folder = workspace.home / "search_spaces"
    folder.mkdir(parents=True)
    (folder / "classification.yaml").write_text("finetune: off\n")
    assert own_space(workspace, "classification", None) == {"finetune": False}
    assert own_space(workspace, "multilabel", None) == {}
    own = tmp_path / "own.yaml"
    own.write_text("frozen: {policy: plain}\n")
    assert own_space(workspace, "classification", own) == {"frozen": {"policy": "plain"}}, "a file of its own wins"
    (folder / "detection.yaml").write_text("space: {mosaic: 7}\n")
    with pytest.raises(SettingsError, match=r"detection\.yaml: space\.mosaic"):
        own_space(workspace, "detection", None)


@pytest.mark.parametrize("task", ["classification", "multilabel", "detection"])
def test_every_task_checks(task: str) -> None:
    check(task, {}, "own.yaml")
    with pytest.raises(SettingsError, match="unknown key 'nonsense'"):
        check(task, {"nonsense": 1}, "own.yaml")


def test_refused_before_anything_is_created(workspace: Workspace, tmp_path: Path) -> None:
    from tenshot.automl.training import launch
    from tenshot.automl.training.options import Options
    from tenshot.projects.status import Task

    workspace.store.create_project("p", Task.CLASSIFICATION, at=1.0)
    workspace.store.add_dataset_version("p", snapshot_sha256="0" * 64, parent=None, source="here", stats={}, at=1.0)
    own = tmp_path / "own.yaml"
    own.write_text("frozn: {}\n")
    with pytest.raises(SettingsError, match="frozn"):
        launch.enqueue(workspace, "p", Options(1.0), own)
    assert workspace.store.versions("p") == []
    own.write_text("finetune: off\n")
    assert launch.enqueue(workspace, "p", Options(1.0), own).payload["space"] == {"finetune": False}
