"""What pip is told: pins without addresses, folders that exist, weights that are named in NOTICE."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
EXTRAS = {"train", "serve", "postgres", "dev"}


def pins() -> dict[str, str]:
    rows = (line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines())
    return {canonicalize_name(name): version for name, version in rows}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def resolved(roots: list[Requirement]) -> set[str]:
    """Canonical names of everything that installing `roots` brings here, following the installed metadata."""
    found: set[str] = set()
    queue = [(r, extra) for r in roots for extra in ("", *r.extras)]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            children = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # another platform's, or satisfied by nothing here
        found.add(name)
        environment = {**default_environment(), "extra": extra}
        for child in children:
            if child.marker is None or child.marker.evaluate(environment):
                queue += [(child, e) for e in ("", *child.extras)]
    return found - {"tenshot"}


def requirements() -> list[Requirement]:
    document = project()
    extras = document["optional-dependencies"]
    return [Requirement(text) for group in (document["dependencies"], *extras.values()) for text in group]


def test_constraints_are_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_constraints_are_sorted_and_unique() -> None:
    names = [line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()]
    assert names == sorted(set(names))


def test_every_resolved_dependency_is_pinned() -> None:
    assert resolved([r for r in requirements() if r.name != "tenshot"]) - set(pins()) == set()


def test_pins_are_what_is_installed() -> None:
    installed = {canonicalize_name(d.name): d.version for d in distributions()}
    needed = resolved([r for r in requirements() if r.name != "tenshot"])
    assert {n: installed[n] for n in needed} == {n: pins()[n] for n in needed}


def test_only_the_headless_opencv_is_pinned() -> None:
    assert {name for name in pins() if "opencv" in name} == {"opencv-python-headless", "ultralytics-opencv-headless"}


def test_serving_installs_no_training_stack() -> None:
    extras = project()["optional-dependencies"]
    served = resolved([Requirement(text) for text in (*project()["dependencies"], *extras["serve"])])
    assert (
        served & {"torch", "torchvision", "pytorch-lightning", "optuna", "mlflow", "ultralytics-opencv-headless"}
        == set()
    )


def test_extras_are_the_documented_ones() -> None:
    assert set(project()["optional-dependencies"]) == EXTRAS


def test_setup_names_the_rooms_that_exist() -> None:
    text = (ROOT / "setup.py").read_text("utf-8")
    folders = re.search(r"FOLDERS = \((.*?)\)", text)
    assert folders
    named = re.findall(r'"(\w+)"', folders[1])
    assert named == ["automl", "configs", "datasets", "projects", "serving"]
    assert all((ROOT / name).is_dir() for name in named)


@pytest.mark.parametrize("suffix", [".yaml", ".html", ".css", ".mako", "py.typed"])
def test_setup_packs_every_kind_of_data(suffix: str) -> None:
    assert suffix in (ROOT / "setup.py").read_text("utf-8")


def test_setup_leaves_no_kind_of_file_out() -> None:
    packed = {".py", ".yaml", ".html", ".css", ".mako", ".typed", ".pyc"}
    rooms = ("automl", "configs", "datasets", "projects", "serving")
    found = {p.suffix for room in rooms for p in (ROOT / room).rglob("*") if p.is_file()}
    assert found <= packed


def models() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "configs" / "base_models.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", models())
def test_notice_names_every_weight(name: str) -> None:
    row = models()[name]
    sections = re.split(r"\n(?=\S)", (ROOT / "NOTICE").read_text("utf-8"))
    section = next((s for s in sections if s.startswith(f"{name}\n")), "")
    source = row["source"]
    for expected in (source["package"], source["version"], source["member"], row["licence"], row["sha256"]):
        assert expected in section, f"NOTICE says nothing of {expected} under {name}"


def test_notice_names_no_weight_that_is_gone() -> None:
    text = (ROOT / "NOTICE").read_text("utf-8")
    assert set(re.findall(r"^(\w+)\n {4}what", text, re.MULTILINE)) == set(models())


def test_licence_is_the_whole_agpl() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in text
    assert text.count("\n") > 600
    assert "How to Apply These Terms" in text
