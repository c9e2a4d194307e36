"""Published checkpoints of Ultralytics: read without running them, and trained from like our own base."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenshot.automl.detectors import checkpoint, family_of, yolov8
from tenshot.automl.detectors.checkpoint import same_names
from tenshot.projects.errors import WeightsError

NAMES = ["yolov8n", "yolo11n", "yolo26n", "yolov10n", "yolov5nu"]
"""One of each kind of head: shared, light, with a second head, the same in its own class, the oldest architecture."""
CLASSES = {i: f"thing {i}" for i in range(80)} | {5: "Fire Hydrant", 16: "dog"}


def saved(name: str, path: Path) -> Any:
    """A checkpoint as Ultralytics writes them (the pickled network in half precision), with random weights."""
    network = yolov8._empty_network(80, yolov8._architecture(name))
    network.names = CLASSES
    kept = {"epoch": -1, "best_fitness": None, "model": network.half(), "ema": None, "train_args": {"imgsz": 640}}
    torch.save({**kept, "date": "2026", "version": "8"}, path)
    return network.float().eval()


@pytest.fixture(scope="module")
def yolo11n(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("published") / "yolo11n.pt"
    return path, saved("yolo11n", path)


class TestReading:
    def test_every_tensor_and_the_names(self, yolo11n: tuple[Path, Any]) -> None:
        path, network = yolo11n
        found = checkpoint.read(path)
        expected = network.state_dict()
        assert list(found.tensors) == list(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(
                found.tensors[name], tensor.half().float() if tensor.is_floating_point() else tensor
            )
        assert found.names == CLASSES

    def test_plain_state_dict(self, tmp_path: Path) -> None:
        state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3), "c": torch.zeros(0, 2)}
        torch.save(state, tmp_path / "plain.pt")
        found = checkpoint.read(tmp_path / "plain.pt")
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state.items())
        assert found.names == {}

    def test_averaged_network_first(self, tmp_path: Path) -> None:
        first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        torch.save({"model": first, "ema": second}, tmp_path / "both.pt")
        assert torch.equal(checkpoint.read(tmp_path / "both.pt").tensors["weight"], second.weight)


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class TestHostile:
    @pytest.mark.parametrize("place", ["value", "state", "key"])
    @pytest.mark.parametrize(
        ("function", "name"),
        [
            pytest.param(os.system, "system", id="os.system"),
            pytest.param(eval, "eval", id="eval"),
            pytest.param(exec, "exec", id="exec"),
            pytest.param(__import__, "__import__", id="import"),
            pytest.param(torch.load, "load", id="torch.load"),
        ],
    )
    def test_nothing_is_run(self, tmp_path: Path, function: Callable[..., Any], name: str, place: str) -> None:
        trap = Calls(
            function, f"touch {tmp_path / 'ran'}" if name == "system" else f"open({str(tmp_path / 'ran')!r}, 'w')"
        )
        network = torch.nn.Linear(2, 2)
        if place == "state":
            network.trap = trap  # type: ignore[assignment]
        torch.save({"model": network} | ({"x": trap} if place == "value" else {}), tmp_path / "bad.pt")
        if place == "key":
            torch.save([trap], tmp_path / "bad.pt")
        with pytest.raises(WeightsError, match=rf"bad\.pt refers to \S*{name}, which no checkpoint") as caught:
            checkpoint.read(tmp_path / "bad.pt")
        assert "nothing of it was run" in caught.value.hint
        assert not (tmp_path / "ran").exists()

    def test_harmless_prefixes_are_not_imported_either(self, tmp_path: Path) -> None:
        """`ultralytics.…` passes by its name, yet what it names is not called."""
        from tenshot.automl.detectors.checkpoint import _Inert

        content = pickle.dumps({"a": 1}).replace(b"}", b"}")
        program = b"cultralytics.utils.downloads\nsafe_download\n(S'http://127.0.0.1:9/x'\ntR."
        made = rewritten(tmp_path, program)
        with pytest.raises(WeightsError, match="holds no tensors"):
            checkpoint.read(made)
        assert content
        assert isinstance(_Inert()(1, 2), _Inert)

    def test_tensor_beyond_its_storage(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(4)}, tmp_path / "good.pt")
        with zipfile.ZipFile(tmp_path / "good.pt") as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("data/0"))
            members = {n: archive.read(n) for n in archive.namelist()} | {name: b"1234"}
        with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
            checkpoint.read(zipped(tmp_path / "short.pt", members))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(b"", "cannot be read", id="empty"),
            pytest.param(b"<html>", "cannot be read", id="a page"),
            pytest.param(pickle.dumps({"model": 1}), "cannot be read", id="a bare pickle"),
        ],
    )
    def test_not_a_checkpoint(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            checkpoint.read(tmp_path / "bad.pt")

    def test_torchscript(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / "script.pt"))
        with pytest.raises(WeightsError, match="is not a checkpoint of torch"):
            checkpoint.read(tmp_path / "script.pt")

    def test_a_bomb(self, tmp_path: Path) -> None:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", bytes(10_000_000))
        (tmp_path / "bomb.pt").write_bytes(stream.getvalue())
        with pytest.raises(WeightsError, match="is compressed"):
            checkpoint.read(tmp_path / "bomb.pt")

    def test_every_cut(self, tmp_path: Path, yolo11n: tuple[Path, Any]) -> None:
        whole = yolo11n[0].read_bytes()
        for keep in range(0, len(whole), len(whole) // 7):
            (tmp_path / "cut.pt").write_bytes(whole[:keep])
            with pytest.raises(WeightsError):
                checkpoint.read(tmp_path / "cut.pt")


def rewritten(folder: Path, program: bytes) -> Path:
    return zipped(folder / "made.pt", {"x/data.pkl": program, "x/byteorder": b"little"})


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_same_names() -> None:
    assert same_names(["person", "fire hydrant", "dog", "dog"], ["Dog", "fire_hydrant", "cat"]) == {0: 2, 1: 1}


class TestFamily:
    def test_names(self) -> None:
        published = yolov8.published()
        assert {*NAMES, "yolov8s", "yolo12x", "yolov9c"} <= set(published)
        assert not [name for name in published if "-" in name], "other tasks have a suffix"
        assert all(address.endswith(f"/{name}.pt") for name, address in published.items())

    @pytest.mark.parametrize("name", NAMES)
    def test_grown_from(self, name: str, tmp_path: Path) -> None:
        path, family = tmp_path / f"{name}.pt", family_of(f"ultralytics:{name}")
        original = saved(name, path)
        labels = ["fire_hydrant", "screw", "Dog"]
        made = family.load_base(path, labels, images=[], image_size=64, seed=1)
        image = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
        answer = family.network(made)(image)
        assert answer.shape == (2, 4 + 3, 84)
        head, old = made.model.model[-1], original.model[-1]
        for mine, theirs in zip(head.cv3, old.cv3, strict=True):
            known = theirs[-1].weight.half().float()
            assert torch.equal(mine[-1].weight[0], known[5]), "a label that the base knows"
            assert torch.equal(mine[-1].weight[2], known[16])
            assert not any(torch.equal(mine[-1].weight[1], row) for row in known)
        family.save(made, tmp_path / "kept.pt")
        again = family.load(tmp_path / "kept.pt")
        assert np.array_equal(family.network(again)(image), answer)
        twice = family.load_base(path, labels, images=[], image_size=64, seed=1)
        assert np.array_equal(family.network(twice)(image), answer), "one seed, one detector"

    def test_boxes_are_the_bases(self, yolo11n: tuple[Path, Any]) -> None:
        """Only classes are new: boxes come out as from the published network."""
        path, original = yolo11n
        made = family_of("ultralytics:yolo11n").load_base(path, ["a"], images=[], image_size=64)
        image = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            expected = original.half().float()(image)[0][:, :4].numpy()
        np.testing.assert_allclose(yolov8.network(made)(image.numpy())[:, :4], expected, rtol=1e-3, atol=1e-2)

    def test_of_another_architecture(self, yolo11n: tuple[Path, Any]) -> None:
        with pytest.raises(WeightsError, match=r"yolo11n\.pt is not a checkpoint of yolov8n"):
            yolov8.published_network("yolov8n", yolo11n[0])
