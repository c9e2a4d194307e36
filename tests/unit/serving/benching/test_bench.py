"""Before anything is measured: words that are none, and the images that are sent."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from fixtures_serving import picture, trained

from tenshot.datasets import snapshots
from tenshot.datasets.annotations import Entry
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import EmptyDataError, UsageError
from tenshot.serving.benching import pictures
from tenshot.serving.benching.bench import Plan, bench, parse_clients
from tenshot.serving.benching.watch import Watch, memory_bytes


@pytest.mark.parametrize(
    ("text", "clients"),
    [("1,2,4,8", (1, 2, 4, 8)), ("8", (8,)), (" 4, 2,4", (2, 4)), ("512", (512,))],
)
def test_clients(text, clients) -> None:
    assert parse_clients(text) == clients


@pytest.mark.parametrize("text", ["", "0", "1,,2", "-1", "1.5", "two", "513", "9" * 5000])
def test_clients_that_are_none(text) -> None:
    with pytest.raises(UsageError, match="--clients"):
        parse_clients(text)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan((1,), 0.0), id="no time"),
        pytest.param(Plan((1,), float("nan")), id="a time that is none"),
        pytest.param(Plan((1,), 1.0, 0.0), id="no rate"),
        pytest.param(Plan((1,), 1.0, float("inf")), id="any rate"),
    ],
)
def test_plans_that_make_no_sense(workspace, plan) -> None:
    with pytest.raises(UsageError):
        bench(workspace, "colours@1", plan)


def with_dataset(workspace, photos):
    """A version whose dataset holds these encoded images."""
    trained(workspace)
    store = ImageStore.of(workspace)
    entries = []
    for i, data in enumerate(photos):
        stored = store.add(data, str(i))
        entries.append(Entry(stored.sha256, f"{i}.jpg", stored.width_px, stored.height_px, "train", ("red",)))
    sha256, stats = snapshots.write(workspace, entries)
    workspace.store.add_dataset_version(
        "colours", snapshot_sha256=sha256, parent=1, source="a test", stats=stats, at=time.time()
    )
    return workspace.store.create_version("colours", dataset_version=2, at=time.time())


def test_images_of_the_dataset_are_the_same_every_time_and_jpegs_first(workspace) -> None:
    photos = [picture((i, 0, 0), form="JPEG" if i % 2 else "PNG") for i in range(80)]
    version = with_dataset(workspace, photos)
    first, again = (pictures.chosen(workspace, version, ()) for _ in range(2))
    assert first == again
    assert len(first) == pictures.DRAWN
    assert pictures.described(first)["formats"] == {"JPEG": pictures.DRAWN}
    assert first[0].content_type == "image/jpeg"


def test_without_a_dataset_images_must_be_named(workspace, tmp_path) -> None:
    version = workspace.resolve(trained(workspace))
    with pytest.raises(EmptyDataError) as error:
        pictures.chosen(workspace, version, ())
    assert "tenshot bench colours@1" in error.value.hint
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.jpg").write_bytes(b"no image")
    found = pictures.chosen(workspace, version, [str(tmp_path)])
    assert [one.content_type for one in found] == ["image/png", "application/octet-stream"]


def test_cpu_and_memory_of_a_process_and_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r} + '\\ninput()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        try:
            watch = Watch(process.pid)
            deadline = time.monotonic() + 50
            while watch.cpu_s < 0.25:
                assert time.monotonic() < deadline
                time.sleep(0.02)
                watch.look()
            assert memory_bytes(process.pid) > 2_000_000
        finally:
            process.communicate(b"\n")
    assert memory_bytes(process.pid) == 0
    assert Watch(os.getpid()).cpu_s == 0.0
