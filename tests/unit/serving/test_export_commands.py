"""`tenshot export` as people and scripts meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import onnx
import psutil
import pytest
from fixtures_serving import trained
from onnx import numpy_helper

from tenshot.automl.bundle import read_manifest, write_manifest
from tenshot.projects.cli import run

pytestmark = pytest.mark.timeout(600)


def failed(capsys, *words):
    status = run(["export", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)["error"]


def test_onnx(workspace, tmp_path, capsys):
    trained(workspace, novelty=True)
    assert run(["export", "colours", "onnx", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], said["format"]) == ("colours@1", "onnx")
    assert said["parity"]["images"] == 11
    assert said["bytes"] == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    status, error = failed(capsys, "colours", "onnx", tmp_path / "out")
    assert (status, error["code"]) == (1, "AlreadyExists")
    assert "--force" in error["hint"]


@pytest.mark.parametrize(
    ("words", "status", "code", "hint"),
    [
        pytest.param(("openvin",), 2, "UnknownNameError", "did you mean openvino?", id="format"),
        pytest.param(("onnx", "--keda"), 2, "UsageError", "leave them out", id="an option of another format"),
        pytest.param(("k8s", "--image", "no image"), 2, "UsageError", "registry.example.com", id="image"),
    ],
)
def test_refused(workspace, tmp_path, capsys, words, status, code, hint):
    trained(workspace)
    got, error = failed(capsys, "colours@1", words[0], tmp_path / "out", *words[1:])
    assert (got, error["code"]) == (status, code)
    assert hint in error["hint"]
    assert not (tmp_path / "out").exists()


def test_a_deviation_is_an_error_and_leaves_nothing(workspace, tmp_path, capsys):
    trained(workspace)
    bundle = workspace.bundle_dir("colours", 1)
    network = onnx.load(bundle / "model.onnx")
    weights = numpy_helper.to_array(network.graph.initializer[0])
    network.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights * 0.5, "weights"))
    onnx.save(network, bundle / "model.onnx")
    write_manifest(bundle, read_manifest(bundle))
    status, error = failed(capsys, "colours@1", "onnx", tmp_path / "away" / "out")
    assert (status, error["code"]) == (1, "ExportError")
    assert "unlike its version" in error["message"]
    assert list((tmp_path / "away").iterdir()) == []


def test_a_damaged_bundle_does_not_leave(workspace, tmp_path, capsys):
    trained(workspace)
    (workspace.bundle_dir("colours", 1) / "model.xml").write_text("<net/>")
    status, error = failed(capsys, "colours@1", "docker", tmp_path / "out")
    assert (status, error["code"]) == (1, "BundleError")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_while_its_server_runs(workspace, tmp_path):
    """Nothing in place, no process left, and the next one sweeps and succeeds."""
    trained(workspace)
    target = tmp_path / "out" / "image"
    words = [sys.executable, "-c", "from tenshot.projects.cli import main; main()", "export", "colours", "docker"]
    process = subprocess.Popen([*words, str(target)], env={**os.environ, "TENSHOT_HOME": str(workspace.home)})
    deadline = time.monotonic() + 300
    while not (children := psutil.Process(process.pid).children()):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert len(list(target.parent.iterdir())) == 1
    assert subprocess.run([*words, str(target), "--json"], capture_output=True).returncode == 0
    assert [path.name for path in target.parent.iterdir()] == ["image"]
