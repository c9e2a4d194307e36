"""Request ids, the line of a request, and what the metrics say: a whole endpoint in this process, but for BentoML."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import numpy as np
import pytest
from fixtures_serving import colour_classifier, halves_detector, picture
from prometheus_client import CollectorRegistry

from tenshot.automl.predictor import Predictor
from tenshot.automl.usual import Usual
from tenshot.serving.endpoints.config import EndpointConfig
from tenshot.serving.endpoints.drift_file import Recorder, path_in, read
from tenshot.serving.endpoints.gate import Gate
from tenshot.serving.endpoints.measures import Measures
from tenshot.serving.endpoints.tracing import Traced, with_id
from tenshot.serving.endpoints.web import Web

RED, WHITE = (255, 0, 0), (255, 255, 255)


class Endpoint:
    def __init__(self, bundle: Path, *, log: bool = True, **config: Any) -> None:
        self.lines: list[bytes] = []
        self.registry = CollectorRegistry()
        self.measures = Measures("colours@1", self.registry)
        self.drift = path_in(bundle.parent)
        predictor = Predictor.load(bundle, threads=1)

        def run(array: np.ndarray) -> np.ndarray:
            with self.measures.run(len(array)):
                return predictor.network(array)

        async def infer(array: np.ndarray) -> np.ndarray:
            return await anyio.to_thread.run_sync(run, array)

        recorder = Recorder(self.drift, Usual.load(bundle), self.measures.drift)
        self.web = Web("colours@1", lambda: predictor, infer, EndpointConfig(**config), self.measures, recorder)
        gate = Gate(self.web.app(), self.measures, max_in_flight=8, touch=lambda: None, predict=self.web)
        self.app = Traced(gate, "colours@1", log=log, write=self.lines.append)

    def ask(self, *calls: Callable[[httpx.AsyncClient], Any]) -> list[httpx.Response]:
        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
                return [await call(client) for call in calls]

        return asyncio.run(all_of_them())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"tenshot_{name}", {"version": "colours@1", **labels})

    @property
    def last(self) -> dict[str, Any]:
        assert self.lines[-1].endswith(b"\n")
        assert self.lines[-1].count(b"\n") == 1
        document: dict[str, Any] = json.loads(self.lines[-1])
        return document


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    colour_classifier(tmp_path / "bundle", novelty=True)
    return tmp_path / "bundle"


def post(body: bytes, **headers: str) -> Callable[[httpx.AsyncClient], Any]:
    given = {"Content-Type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda client: client.post("/predict", content=body, headers=given)


class TestRequestId:
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            pytest.param("order-17/3", True, id="sane"),
            pytest.param("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True, id="trace"),
            pytest.param("", False, id="empty"),
            pytest.param("a b", False, id="space"),
            pytest.param('x"}', False, id="quote"),
            pytest.param("x" * 129, False, id="long"),
            pytest.param("x" * 128, True, id="just not too long"),
        ],
    )
    def test_of_the_caller_if_it_is_sane(self, bundle: Path, given: str, kept: bool) -> None:
        endpoint = Endpoint(bundle)
        [answer] = endpoint.ask(post(picture(), X_Request_Id=given))
        assert answer.status_code == 200
        assert (answer.headers["x-request-id"] == given) == kept
        assert endpoint.last["request"] == answer.headers["x-request-id"]

    def test_each_request_gets_its_own(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        answers = endpoint.ask(*[post(picture())] * 3, lambda client: client.get("/docs.json"))
        assert len({answer.headers["x-request-id"] for answer in answers}) == 4
        assert len(endpoint.lines) == 3, "only predictions and refusals are logged"

    @pytest.mark.parametrize(
        ("call", "status"),
        [
            pytest.param(post(b"no image", X_Request_Id="mine"), 400, id="bad image"),
            pytest.param(lambda c: c.get("/predict", headers={"X-Request-Id": "mine"}), 405, id="method"),
            pytest.param(lambda c: c.get("/nothing", headers={"X-Request-Id": "mine"}), 404, id="path"),
            pytest.param(post(b"x" * 600, X_Request_Id="mine"), 413, id="too large"),
        ],
    )
    def test_stands_in_every_refusal(self, bundle: Path, call: Callable[..., Any], status: int) -> None:
        endpoint = Endpoint(bundle, max_body_bytes=500)
        [answer] = endpoint.ask(call)
        assert answer.status_code == status
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == "mine"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert (endpoint.last["status"], endpoint.last["request"]) == (status, "mine")

    @pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b'{"error": "text"}', b'{"a": 1}', b'"' + b"x" * 70_000])
    def test_documents_of_others_stay_as_they_are(self, body: bytes) -> None:
        assert with_id(body, "mine") is None


class TestLine:
    def test_says_what_an_operator_needs(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        body = picture(RED)
        [answer] = endpoint.ask(post(body))
        assert answer.status_code == 200
        line = endpoint.last
        assert line.pop("ms") > 0
        assert line.pop("at").endswith("Z")
        assert line == {
            "request": answer.headers["x-request-id"], "version": "colours@1", "key": "", "status": 200, "images": 1,
            "bytes": len(body), "best": [100.0],
        }  # fmt: skip

    def test_names_the_key(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        inner = endpoint.app.app

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            scope["tenshot.key"] = "k7"
            await inner(scope, receive, send)

        endpoint.app.app = guarded
        endpoint.ask(post(picture()))
        assert endpoint.last["key"] == "k7"

    @pytest.mark.parametrize(("names", "shown"), [(False, None), (True, ["a.png", "b" * 96 + ".png"[:4]])])
    def test_names_files_only_on_request(self, bundle: Path, names: bool, shown: list[str] | None) -> None:
        endpoint = Endpoint(bundle, log_file_names=names)
        files = [("f", ("a.png", picture(), "image/png")), ("f", ("b" * 96 + ".png", b"bad", "image/png"))]
        endpoint.ask(lambda client: client.post("/predict", files=files))
        assert endpoint.last.get("files") == shown
        assert (endpoint.last["images"], len(endpoint.last["best"])) == (2, 1)

    def test_off(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle, log=False)
        [answer] = endpoint.ask(post(picture()))
        assert answer.headers["x-request-id"]
        assert endpoint.lines == []

    def test_a_full_disk_and_a_lost_client_end_no_answer(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)

        def full(line: bytes) -> None:
            endpoint.lines.append(line)
            raise OSError(28, "No space left on device")

        endpoint.app._write = full
        [answer] = endpoint.ask(post(picture()))
        assert answer.status_code == 200

        async def gone() -> None:
            async def receive() -> dict[str, Any]:
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                raise OSError("gone")

            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}
            with pytest.raises(OSError, match="gone"):
                await endpoint.app(scope, receive, send)

        asyncio.run(gone())
        assert endpoint.last["status"] == 499


class TestMeasures:
    def test_count_what_was_answered(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        endpoint.ask(*[post(picture(RED))] * 3, post(picture(WHITE)), post(b"bad"))
        assert endpoint.value("requests_total", status="200") == 4
        assert endpoint.value("requests_total", status="400") == 1
        assert endpoint.value("request_seconds_count") == 5
        assert (endpoint.value("images_total"), endpoint.value("bad_images_total")) == (4, 1)
        assert endpoint.value("confidence_count") == 4
        assert endpoint.value("confidence_bucket", le="99.0") == 1, "white is none of its colours"
        assert (endpoint.value("unsure_images_total"), endpoint.value("unlabeled_images_total")) == (1, 1)
        assert endpoint.value("novelty_bucket", le="0.0") == 3
        assert endpoint.value("novelty_count") == 4
        assert (endpoint.value("decode_seconds_count"), endpoint.value("queue_seconds_count")) == (4, 8)
        assert (endpoint.value("batch_size_count"), endpoint.value("network_seconds_count")) == (4, 4)
        assert endpoint.value("in_flight") == 0

    def test_less_than_asked_for_is_not_unsure(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        endpoint.ask(
            lambda c: c.post("/predict?max_results=0", content=picture(), headers={"Content-Type": "image/png"})
        )
        assert (endpoint.value("unsure_images_total"), endpoint.value("unlabeled_images_total")) == (0, 1)

    def test_tell_drift(self, bundle: Path) -> None:
        endpoint = Endpoint(bundle)
        assert endpoint.web.recorder is not None
        assert math.isnan(endpoint.value("drift") or 0.0)
        endpoint.ask(*[post(picture(WHITE))] * 40)
        endpoint.web.recorder.flush()
        assert (endpoint.value("drift") or 0.0) > 0.6
        assert endpoint.value("drift_images") == 40
        [(_, counted)] = read(endpoint.drift).items()
        assert sum(counted["strangeness"].values()) == 40

    def test_of_a_detector_without_a_yardstick_drift_is_unknown(self, tmp_path: Path) -> None:
        halves_detector(tmp_path / "bundle")
        endpoint = Endpoint(tmp_path / "bundle")
        [answer] = endpoint.ask(post(picture(RED)))
        assert answer.status_code == 200
        assert endpoint.web.recorder is not None
        endpoint.web.recorder.flush()
        assert math.isnan(endpoint.value("drift") or 0.0)
        assert endpoint.value("novelty_count") == 0
        assert endpoint.value("confidence_count") == 1
        assert not endpoint.drift.exists()
