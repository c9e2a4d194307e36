"""Five rooms, one direction; seams whose tables and folders agree; modules of a size."""

from __future__ import annotations

from importlib import import_module

import pytest
from layout_imports import ROOMS, ROOT, cycles, imports, modules, reached

LONGEST = 600
TRAINING_ONLY = {"torch", "torchvision", "pytorch_lightning", "lightning", "optuna", "ultralytics", "mlflow", "timm"}
SEAMS = [
    pytest.param("datasets/formats", "tenshot.datasets.formats:FORMATS", id="formats"),
    pytest.param("datasets/checks", "tenshot.datasets.checks:CHECKS", id="checks"),
    pytest.param("automl/backbones", "tenshot.automl.backbones:BACKBONES", id="backbones"),
    pytest.param("automl/detectors", "tenshot.automl.detectors:DETECTORS", id="detectors"),
    pytest.param("automl/base/sources", "tenshot.automl.base.sources:SOURCES", id="sources of weights"),
    pytest.param("automl/libraries", "tenshot.automl.libraries:LIBRARIES", id="libraries of models"),
    pytest.param("projects/metering/sinks", "tenshot.projects.metering.sinks:SINKS", id="sinks"),
    pytest.param("serving/exports", "tenshot.serving.exports:EXPORTS", id="exports"),
]
"""Folder with a file for each row, table."""


def test_reader_sees_the_house() -> None:
    assert {name.split(".")[1] for name in modules()} >= set(ROOMS) - {"serving"}
    assert "tenshot.projects.errors" in {one.name for one in imports("tenshot.projects.registry")}
    assert {one.when for one in imports("tenshot.projects.workspace")} == {"import", "later", "typing"}
    assert "sqlalchemy" in reached("tenshot.projects.stores.sql")


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_from_its_left(room: str) -> None:
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = [
        f"{modules()[name].relative_to(ROOT)}:{one.line} imports {one.name}"
        for name in modules()
        if name.split(".")[1] == room
        for one in imports(name)
        if one.name.startswith("tenshot.") and one.name.split(".")[1] not in allowed
    ]
    assert wrong == []


def test_no_import_cycle() -> None:
    assert [" → ".join(cycle) for cycle in cycles()] == []


def test_rooms_are_imported_by_their_full_name() -> None:
    # `import datasets` would find another package of that name, or none.
    wrong = [
        f"{modules()[name].relative_to(ROOT)}:{one.line} imports {one.name}"
        for name in modules()
        for one in imports(name)
        if one.name.split(".")[0] in ROOMS or one.name.startswith("None")
    ]
    assert wrong == []


def test_rooms_are_namespace_folders() -> None:
    """A file there would make the folder a package of its own beside `tenshot.<room>`."""
    assert [room for room in ROOMS if (ROOT / room / "__init__.py").exists()] == ["configs"]


@pytest.mark.parametrize("name", sorted(modules()))
def test_module_is_not_too_long(name: str) -> None:
    assert len(modules()[name].read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize(("folder", "table"), SEAMS)
def test_seam(folder: str, table: str) -> None:
    module, _, attribute = table.partition(":")
    path = modules().get(module)
    if path is None or attribute not in path.read_text("utf-8"):
        pytest.skip(f"there is no {table} yet")
    rows = {target.partition(":")[0] for target in getattr(import_module(module), attribute).rows.values()}
    files = {f"{module}.{file.stem}" for file in (ROOT / folder).glob("*.py")} - {f"{module}.__init__"}
    assert sorted(rows - files) == [], "rows without a file"
    assert sorted(files - rows - shared_by(rows)) == [], "files without a row that no row uses either"


def shared_by(rows: set[str]) -> set[str]:
    """What the files with a row share lies beside them."""
    return {found for row in rows for found in reached(row, later=True)}


@pytest.mark.parametrize("name", [name for name in sorted(modules()) if name.startswith("tenshot.serving.endpoints")])
def test_endpoint_processes_load_nothing_of_training(name: str) -> None:
    wrong = [" → ".join(way) for found, way in reached(name).items() if found.split(".")[0] in TRAINING_ONLY]
    assert wrong == []


@pytest.mark.parametrize("name", ["tenshot.projects.cli", *(f"tenshot.{room}.commands" for room in ROOMS[1:])])
def test_commands_load_nothing_heavy(name: str) -> None:
    if name not in modules():
        pytest.skip(f"there is no {name} yet")
    heavy = TRAINING_ONLY | {"numpy", "cv2", "sqlalchemy", "openvino", "bentoml", "onnxruntime", "sklearn"}
    wrong = [" → ".join(way) for found, way in reached(name).items() if found.split(".")[0] in heavy]
    assert wrong == []


def test_only_one_file_knows_the_detector_library() -> None:
    knows = [name for name in modules() for one in imports(name) if one.name.split(".")[0] == "ultralytics"]
    assert set(knows) <= {"tenshot.automl.detectors.yolov8"}


def test_only_one_file_knows_the_tracker() -> None:
    knows = [name for name in modules() for one in imports(name) if one.name.split(".")[0] == "mlflow"]
    # The second is the file that MLflow stores with a model, to load it by.
    assert set(knows) <= {"tenshot.automl.tracking", "tenshot.automl.tracked_model"}
