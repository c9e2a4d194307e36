"""Processes that cannot import Tenshot, so that what runs in them runs elsewhere, too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tenshot.projects.errors import ExportError

# Python imports this at its start from the first folder of PYTHONPATH, in every process below as well.
_NO_TENSHOT = """
import sys

class NoTenshot:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "tenshot":
            raise ModuleNotFoundError("an export must not import tenshot", name=name)

sys.meta_path.insert(0, NoTenshot)
"""
TIMEOUT_S = 900.0
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05
PORT_TRIES = 3
MOST_WORDS = 1500
"""Characters of a failed process' words that an error repeats."""


class Server(NamedTuple):
    pid: int
    address: str


class Alone:
    """Where such processes run; `scratch` is a folder of their own outside of every checkout."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        site = scratch / "no-tenshot"
        site.mkdir(parents=True, exist_ok=True)
        (site / "sitecustomize.py").write_text(_NO_TENSHOT, "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TENSHOT_"))}
        # Not BentoML's home of the user either: a Bento of an earlier export is none of this one's business.
        self.environ = kept | {
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENTOML_HOME": str(scratch / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def run(self, *words: str | Path, cwd: Path, told: str = "") -> str:
        """Standard output of a Python that is given these words, and `told` on its standard input.

        Raises ExportError with what it wrote if it fails.
        """
        from tenshot.serving.endpoints.processes import dies_with_parent

        command = [sys.executable, *map(str, words)]
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=self.environ,
                input=told,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                preexec_fn=dies_with_parent(),
            )
        except subprocess.TimeoutExpired:
            raise ExportError(f"the export did not answer within {TIMEOUT_S:.0f} s") from None
        if done.returncode:
            raise ExportError(f"the export does not run: {done.stderr.strip()[-MOST_WORDS:]}")
        return done.stdout

    @contextmanager
    def server(self, *words: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> Iterator[Server]:
        """A server that is given PORT in its environment and {port} in its words, from ready on; it is stopped at the
        end. Raises ExportError with its log if it ends or does not become ready."""
        left = PORT_TRIES
        while True:
            left -= 1
            port = _free_port()
            log = self.scratch / f"server-{port}.log"
            process = self._start(words, cwd, port, log, environ or {})
            try:
                _wait_ready(process, f"http://127.0.0.1:{port}", log)
                break
            except BaseException as error:
                _stop(process)
                # Between finding a free port and listening on it somebody else may have taken it.
                taken = isinstance(error, ExportError) and "address already in use" in _words(log).lower()
                if not (left and taken):
                    raise
        try:
            yield Server(process.pid, f"http://127.0.0.1:{port}")
        finally:
            _stop(process)

    def _start(
        self, words: Sequence[str | Path], cwd: Path, port: int, log: Path, environ: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        from tenshot.serving.endpoints.processes import dies_with_parent

        command = [sys.executable, *(str(word).replace("{port}", str(port)) for word in words)]
        places = {"HOST": "127.0.0.1", "PORT": str(port)}
        with log.open("wb") as stream:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=self.environ | environ | places,
                stdout=stream,
                stderr=stream,
                preexec_fn=dies_with_parent(),
            )


def _wait_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if process.poll() is not None:
            raise ExportError(f"the export's server ended: {_words(log)}")
        try:
            if httpx.get(f"{address}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline:
            raise ExportError(f"the export's server was not ready after {START_TIMEOUT_S:.0f} s: {_words(log)}")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The server and all that it started."""
    import psutil

    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        below = []
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(below, timeout=5)
    for other in left:
        other.kill()


def _words(log: Path) -> str:
    return log.read_text("utf-8", "replace").strip()[-MOST_WORDS:] or "it wrote nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parsed(text: str) -> Any:
    """The last line of a process' standard output, as JSON. Raises ExportError."""
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise ExportError(f"the export answered no JSON: {text[-MOST_WORDS:]!r}") from None


def command_line(alone: Alone, folder: Path, images: Sequence[Path], least: float | None) -> list[dict[str, Any]]:
    """What `predict.py` in `folder` answers."""
    option = [] if least is None else ["--min-confidence", str(least)]
    found = parsed(alone.run(folder / "predict.py", *option, *images, cwd=alone.scratch))
    entries: list[dict[str, Any]] = found["images"]
    return entries
