"""The wheel as users get it: built through the sdist, equal to the tree, usable without the training stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("automl", "configs", "datasets", "projects", "serving")
HEAVY = {"torch", "torchvision", "ultralytics-opencv-headless", "mlflow", "optuna", "pytorch-lightning", "bentoml"}

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path, expect: int = 0, **environ: str) -> str:
    """Standard output of a command whose exit status is `expect`; it does not see the checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TENSHOT_"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**clean, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)  # the wheel is made from the sdist
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a venv that has the wheel and its base dependencies, no extras."""
    home = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", home / "venv", cwd=home)
    binaries = home / "venv" / "bin"
    pip = (binaries / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=home)
    return binaries


def test_the_wheel_holds_exactly_the_tree(wheel: Path) -> None:
    tree = {
        f"tenshot/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == tree


def test_the_wheel_carries_the_licence_and_the_notice(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name for name in archive.namelist() if ".dist-info/licenses/" in name}
    assert names == {"LICENSE", "NOTICE"}


def test_base_install_has_no_training_stack(installed: Path, tmp_path: Path) -> None:
    listed = json.loads(run(installed / "python", "-m", "pip", "list", "--format=json", cwd=tmp_path))
    names = {row["name"].lower() for row in listed}
    assert "tenshot" in names
    assert not names & HEAVY


def test_base_install_runs_the_command_line(installed: Path, tmp_path: Path) -> None:
    home = {"TENSHOT_HOME": str(tmp_path / "home")}
    assert "project" in run(installed / "tenshot", "--help", cwd=tmp_path, **home)
    run(installed / "tenshot", "project", "create", "cells", "--task", "classification", cwd=tmp_path, **home)
    shown = json.loads(run(installed / "tenshot", "project", "list", "--json", cwd=tmp_path, **home))
    assert "cells" in json.dumps(shown)


def test_base_install_imports_images(installed: Path, tmp_path: Path) -> None:
    home = {"TENSHOT_HOME": str(tmp_path / "home")}
    make = (
        "import cv2, numpy, pathlib\n"
        "for label, value in (('good', 60), ('bad', 180)):\n"
        "    pathlib.Path('photos', label).mkdir(parents=True)\n"
        "    cv2.imwrite(f'photos/{label}/1.png', numpy.full((32, 32, 3), value, 'uint8'))\n"
    )
    run(installed / "python", "-c", make, cwd=tmp_path)
    run(installed / "tenshot", "project", "create", "cells", "--task", "classification", cwd=tmp_path, **home)
    report = json.loads(
        run(installed / "tenshot", "dataset", "import", "cells", "photos", "--json", cwd=tmp_path, **home)
    )
    assert report["imported"] == 2


def test_base_install_says_what_is_missing_for_training(installed: Path, tmp_path: Path) -> None:
    home = {"TENSHOT_HOME": str(tmp_path / "home")}
    run(installed / "tenshot", "project", "create", "cells", "--task", "classification", cwd=tmp_path, **home)
    answer = json.loads(run(installed / "tenshot", "train", "cells", "--json", cwd=tmp_path, expect=1, **home))
    assert answer["error"]["code"] in {"MissingDependencyError", "DatasetNotFound", "EmptyDataError"}
    assert answer["error"]["hint"]
