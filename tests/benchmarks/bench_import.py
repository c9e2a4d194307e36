"""Import of 10,000 small JPEGs holds memory flat: run with `python tests/benchmarks/bench_import.py [IMAGES]`.

A child process imports folders of 1,000 and of IMAGES images and reports its peak resident memory for each; what grows
from one to the other is what an image costs. The pictures are generated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 320
SMALL = 1_000

CHILD = """
import json, pathlib, resource, sys, time
from tenshot.datasets.ingest import import_dataset
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace
workspace = Workspace(pathlib.Path(sys.argv[1]))
workspace.store.create_project("p", Task.CLASSIFICATION, at=0.0)
start = time.monotonic()
report = import_dataset(workspace, "p", pathlib.Path(sys.argv[2]))
seconds = time.monotonic() - start
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"imported": report.imported, "seconds": seconds, "peak_mb": peak_mb}))
"""


def generate(root: Path, count: int) -> None:
    """JPEGs of SIDE×SIDE px, all different, in two class folders."""
    rng = np.random.default_rng(0)
    for n in range(count):
        folder = root / ("even" if n % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 255, (10, 10, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(folder / f"{n:06}.jpg", quality=85)


def measure(home: Path, images: Path) -> dict[str, float]:
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", CHILD, str(home), str(images)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="tenshot-bench-") as folder:
        root = Path(folder)
        start = time.monotonic()
        generate(root / "small", SMALL)
        generate(root / "large", count)
        generated = time.monotonic() - start
        small, large = measure(root / "home-1", root / "small"), measure(root / "home-2", root / "large")
    growth_kb = (large["peak_mb"] - small["peak_mb"]) * 1024 / max(count - SMALL, 1)
    document = {"images": count, "side_px": SIDE, "generated_s": generated, "small": small, "large": large}
    sys.stdout.write(json.dumps({**document, "growth_kb_per_image": growth_kb}, indent=2) + "\n")


if __name__ == "__main__":
    main()
