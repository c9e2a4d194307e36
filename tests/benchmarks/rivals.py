"""What stands beside the endpoint: a bare loop, MLflow's scoring server, and Ultralytics in FastAPI."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from served import Body

from tenshot.serving.benching.load import Samples

HERE = Path(__file__).parent
START_S = 120.0
POLL_S = 0.1


def bare(bundle: Path, photos: Sequence[Body], seconds: float, processes: int = 1) -> tuple[Samples, float]:
    """So many loops at once, each a process with one thread; also the CPU seconds that they took."""
    command = [sys.executable, str(HERE / "bare_loop.py"), str(bundle), str(seconds), *(path for path, _ in photos)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, text=True, **pipes) for _ in range(processes)]
    try:
        for one in running:
            if one.stdout is None or one.stdout.readline() != "ready\n":
                raise SystemExit("the bare loop does not run")
        said = [json.loads(out) for out in _together(running)]
    finally:
        for one in running:
            one.kill()
            one.wait()
    latencies = [s for each in said for s in each["latencies_s"]]
    return Samples({200: latencies}, max(each["seconds"] for each in said), 0.0), sum(each["cpu_s"] for each in said)


def _together(running: Sequence[subprocess.Popen[str]]) -> list[str]:
    for one in running:
        if one.stdin:
            one.stdin.write("go\n")
            one.stdin.flush()
    return [one.communicate()[0] for one in running]


@contextmanager
def mlflow_server(bundle: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """The bundle as the MLflow model that `tenshot train` logs, in `mlflow models serve`; address and process."""
    model = folder / "model"
    _save_model(bundle, model)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port)]
    with _server(command, port, "/ping", folder, {"MLFLOW_DISABLE_TELEMETRY": "true"}) as process:
        yield f"http://127.0.0.1:{port}/invocations", process


def _save_model(bundle: Path, model: Path) -> None:
    import warnings

    import mlflow.pyfunc

    from tenshot.automl import tracking

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like an example
        mlflow.pyfunc.save_model(
            model,
            python_model=str(Path(tracking.__file__).with_name("tracked_model.py")),
            artifacts={"bundle": str(bundle)},
            signature=tracking.SIGNATURE,
            pip_requirements=["tenshot[serve]", "pandas"],
        )


def for_mlflow(photos: Sequence[Body], folder: Path) -> list[Body]:
    """The same photos as MLflow takes bytes: base64 in a table in JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for path, _ in photos:
        data = base64.b64encode(Path(path).read_bytes()).decode()
        target = folder / f"{Path(path).stem}.json"
        target.write_text(json.dumps({"dataframe_split": {"columns": ["image"], "data": [[data]]}}), "utf-8")
        found.append((str(target), "application/json"))
    return found


@contextmanager
def ultralytics_server(checkpoint: Path, folder: Path) -> Iterator[tuple[str, int]]:
    if find_spec("fastapi") is None:
        raise SystemExit("FastAPI is not installed: pip install fastapi, or leave ultralytics out")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "ultralytics_app:app", "--app-dir", str(HERE)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    quiet = {"MODEL": str(checkpoint), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}
    with _server(command, port, "/ready", folder, quiet) as process:
        yield f"http://127.0.0.1:{port}/predict", process


@contextmanager
def _server(command: Sequence[str], port: int, ready: str, folder: Path, more: Mapping[str, str]) -> Iterator[int]:
    """The programs of this Python come first on the path; the server and all that it starts end together."""
    log = folder / "server.log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path, **more},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[2]} does not serve: {log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(POLL_S)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
