"""An endpoint on one machine: how soon it answers, how much memory it takes, how fast it is beside a bare loop.

    make bench-endpoint

Without --bundle it serves an EfficientNet-Lite2 (260 px, random weights: the figures do not depend on them). The
endpoint has one unit, so its network runs on one thread; so does that of the bare `Predictor` loop, which decodes and
predicts the same photos one after the other in this process.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import page
import psutil
from PIL import Image

from tenshot.automl.bundle import Base, Input, Manifest, read_manifest, write_manifest
from tenshot.automl.predictor import Predictor
from tenshot.automl.scores import Calibration
from tenshot.datasets.images import decode
from tenshot.projects.status import Task, VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import control

STARTS = 5
REQUESTS = 150
CALLERS = (1, 4, 16)
PHOTO_PX = (1024, 768)
SIDE_PX = 260
HEADINGS = ("what", "value")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--bundle", type=Path, help="serve this bundle instead")
    said = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder, "home"))
        ref = install(workspace, said.bundle)
        rows = [*starting(workspace, ref), *serving(workspace, ref)]
    page.append("Endpoint", "make bench-endpoint", HEADINGS, rows)


def starting(workspace: Workspace, ref: str) -> list[tuple[str, str]]:
    """The first start builds the Bento. Each ends with the answer to a photo."""
    photo, seconds = photos(1)[0], []
    for _ in range(STARTS):
        begun = time.perf_counter()
        url = control.start(workspace, ref).url
        send(httpx.Client(base_url=url, timeout=60), photo)
        seconds.append(time.perf_counter() - begun)
        control.stop(workspace, ref)
    later = seconds[1:]
    return [
        ("start → first answer, Bento built", f"{seconds[0]:.2f} s"),
        ("start → first answer, later starts", f"{statistics.median(later):.2f} s, at worst {max(later):.2f} s"),
    ]


def serving(workspace: Workspace, ref: str) -> list[tuple[str, str]]:
    version = workspace.resolve(ref)
    images = photos(8)
    bare = Predictor.load(workspace.bundle_dir(version.project, version.number), threads=1)
    rows = [("bare loop", described(lambda photo: bare.predict([decoded(photo)]), images, 1))]
    endpoint = control.start(workspace, ref).endpoint
    try:
        rows.append(("memory when ready (PSS, server + supervisor)", memory(endpoint.supervisor_pid)))
        with httpx.Client(base_url=endpoint.url, timeout=120) as client:
            for callers in CALLERS:
                what = f"endpoint, {callers} caller{'s' if callers > 1 else ''}"
                rows.append((what, described(lambda photo: send(client, photo), images, callers)))
        rows.append((f"memory after {len(CALLERS) * REQUESTS} requests", memory(endpoint.supervisor_pid)))
    finally:
        control.stop(workspace, ref)
    return rows


def described(ask: Callable[[bytes], Any], images: list[bytes], callers: int) -> str:
    """p50, p95 and throughput of REQUESTS photos by so many callers at once."""

    def timed(photo: bytes) -> float:
        begun = time.perf_counter()
        ask(photo)
        return (time.perf_counter() - begun) * 1000

    for photo in images:
        ask(photo)
    begun = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        spent_ms = list(pool.map(timed, (images * REQUESTS)[:REQUESTS]))
    rate = REQUESTS / (time.perf_counter() - begun)
    p50, p95 = np.percentile(spent_ms, [50, 95])
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, {rate:.1f} images/s"


def memory(supervisor: int) -> str:
    """What the processes take together; shared pages are counted once (PSS)."""
    root = psutil.Process(supervisor)
    each = [process.memory_full_info().pss / 2**20 for process in [*root.children(recursive=True), root]]
    return f"{sum(each):.0f} MiB ({' + '.join(f'{one:.0f}' for one in each)})"


def send(client: httpx.Client, photo: bytes) -> None:
    client.post("/predict", content=photo, headers={"Content-Type": "image/jpeg"}).raise_for_status()


def decoded(photo: bytes) -> Any:
    return decode(photo, name="photo", max_megapixels=100)


def photos(count: int) -> list[bytes]:
    """JPEGs with the entropy of a photo: blurred noise."""
    found = []
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, 256, (PHOTO_PX[1] // 8, PHOTO_PX[0] // 8, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).resize(PHOTO_PX, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def install(workspace: Workspace, bundle: Path | None) -> str:
    """A workspace with this bundle as the only version of its project."""
    at = time.time()
    if bundle is None:
        bundle = workspace.home / "made"
        make_bundle(bundle)
    given = read_manifest(bundle)
    workspace.store.create_project(given.project, given.task, at=at)
    workspace.store.add_dataset_version(
        given.project, snapshot_sha256=given.dataset_sha256, parent=None, source="-", stats={}, at=at
    )
    version = workspace.store.create_version(given.project, dataset_version=1, at=at)
    shutil.copytree(bundle, workspace.bundle_dir(given.project, version.number))
    done = VersionStatus.TRAINING_COMPLETED
    workspace.store.advance_version(given.project, version.number, done, at=at)
    return version.ref


def make_bundle(directory: Path) -> None:
    import openvino
    import timm
    import torch

    directory.mkdir(parents=True)
    network = timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=2).eval()
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, SIDE_PX, SIDE_PX),),
        str(directory / "model.onnx"),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
    )
    openvino.save_model(openvino.convert_model(directory / "model.onnx"), directory / "model.xml")
    write_manifest(
        directory,
        Manifest(
            project="bench",
            version=1,
            task=Task.CLASSIFICATION,
            labels=("yes", "no"),
            thresholds={"yes": 0.5, "no": 0.5},
            calibration=Calibration("softmax"),
            input=Input(SIDE_PX, SIDE_PX, "crop", 0.89),
            base=Base("random", "0" * 64, "-", "-"),
            dataset_version=1,
            dataset_sha256="0" * 64,
            created_at=time.time(),
            seed=0,
        ),
    )


if __name__ == "__main__":
    main()
