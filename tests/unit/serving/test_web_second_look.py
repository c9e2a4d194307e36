"""An image is kept for its second look where there is room, and decoded again where there is not."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from tenshot.automl.bundle import Base, Input, Manifest, Suppression
from tenshot.automl.predictor import Predictor
from tenshot.automl.scores import Calibration
from tenshot.automl.second_look import SecondLook
from tenshot.projects.status import Task
from tenshot.serving.endpoints import web
from tenshot.serving.endpoints.bodies import Ask, Upload
from tenshot.serving.endpoints.config import EndpointConfig
from tenshot.serving.endpoints.measures import Measures

MANIFEST = Manifest(
    project="p", version=1, task=Task.DETECTION, labels=("a", "b"), thresholds={}, calibration=Calibration("platt"),
    input=Input(64, 64, "letterbox"), base=Base("", "", "", ""), dataset_version=1, dataset_sha256="", created_at=0.0,
    seed=0, suppression=Suppression(),
)  # fmt: skip
OUTPUT = np.array([[32, 32, 20, 20, 0.9, 0.1]], np.float32).T


def jpeg() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(sink, "JPEG")
    return sink.getvalue()


def predictor(second: bool) -> Predictor:
    """The detector says a, the second look b."""
    shares = np.array([[0.0, 1.0, 0.0]], np.float32)
    look = SecondLook(lambda batch: np.repeat(shares, len(batch), 0), Input(8, 8, "stretch"))
    return Predictor(MANIFEST, lambda batch: np.stack([OUTPUT] * len(batch)), None, look if second else None)


@pytest.mark.parametrize(
    ("second", "room", "decoded", "label"),
    [
        pytest.param(False, 1 << 20, 4, "a", id="no-second-look"),
        pytest.param(True, 1 << 20, 4, "b", id="kept"),
        pytest.param(True, 64 * 64 * 3, 7, "b", id="room-for-one-of-four"),
        pytest.param(True, 0, 8, "b", id="room-for-none"),
    ],
)
def test_images_that_wait_take_little_memory(
    second: bool, room: int, decoded: int, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []
    decode = web.decode

    def counted(*given: Any, **named: Any) -> Any:
        times.append(named["name"])
        return decode(*given, **named)

    monkeypatch.setattr(web, "decode", counted)
    monkeypatch.setattr(web, "KEPT_BYTES", room)
    asked: Predictor = predictor(second)

    async def answers() -> list[Any]:
        together = asyncio.Barrier(4)

        async def infer(array: Any) -> Any:
            await together.wait()  # all are decoded before the first is answered
            return asked.network(array)

        app = web.Web("p@1", lambda: asked, infer, EndpointConfig(), Measures("p@1", CollectorRegistry()))
        ask = Ask(tuple(Upload(str(i), jpeg()) for i in range(4)), min_confidence=50.0)
        found = await asyncio.gather(*(app._entry(upload, ask) for upload in ask.images))
        assert app._kept_bytes == 0
        return found

    assert [[one["name"] for one in seen.document["labels"]] for seen in asyncio.run(answers())] == [[label]] * 4
    assert len(times) == decoded
