"""An HTTP service around predict.py, which lies beside it. It needs Starlette, python-multipart and uvicorn besides.

    python app.py                      listens on HOST:PORT, 0.0.0.0:3000 unless the environment says otherwise

POST /predict takes an image as the body, as a form's files, or as JSON {"image": base64} or {"images": [base64, …]};
min_confidence (0–100) and max_results in the query, the form or the document. GET /readyz, /livez and /healthz are for
probes. There is no login and no TLS: put something in front that has both before it is opened to a network.

SPDX-License-Identifier: AGPL-3.0-or-later
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from predict import ImageError, Predictor  # type: ignore[import-not-found]
from starlette.applications import Starlette
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PORT = int(os.environ.get("PORT", "3000"))
MAX_BODY_BYTES = int(os.environ.get("MAX_BODY_BYTES", "16777216"))
MAX_IN_FLIGHT = int(os.environ.get("MAX_IN_FLIGHT", "64"))
THREADS = int(os.environ.get("THREADS", "0"))
BODY_TIMEOUT_S = 60.0
MOST_IMAGES = 64
AT_ONCE = 2
"""Images decoded and looked at together; the rest wait."""


class Refusal(Exception):
    """A request that cannot be answered."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def answer(self) -> Response:
        headers = {"Retry-After": "1"} if self.status == 503 else {}
        error = {"code": self.code, "message": str(self), "hint": ""}
        return JSONResponse({"error": error}, self.status, headers)


class Service:
    """The model of a folder, loaded once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model: Predictor | None = None
        self._lock = threading.Lock()
        self._in_flight = 0
        self._turns: anyio.CapacityLimiter | None = None

    def load(self) -> Predictor:
        """The model, warm: the first look of a network takes longer than the others."""
        with self._lock:
            if self._model is None:
                import numpy as np

                model = Predictor.load(self.folder, threads=THREADS)
                model.predict_pixels(np.zeros((64, 64, 3), np.uint8))
                self._model = model
        return self._model

    def app(self) -> Starlette:
        probes = [Route(path, self.alive, methods=["GET"]) for path in ("/livez", "/healthz")]
        return Starlette(
            routes=[
                Route("/predict", self.predict, methods=["POST"]),
                Route("/readyz", self.ready, methods=["GET"]),
                Route("/", self.about, methods=["GET"]),
                *probes,
            ]
        )

    async def alive(self, _: Request) -> Response:
        return Response(status_code=200)

    async def ready(self, _: Request) -> Response:
        return Response(status_code=200 if self._model is not None else 503)

    async def about(self, _: Request) -> Response:
        card = (await anyio.to_thread.run_sync(self.load)).card
        return JSONResponse({key: card[key] for key in ("model", "task", "labels", "thresholds")})

    async def predict(self, request: Request) -> Response:
        if self._in_flight >= MAX_IN_FLIGHT:
            return Refusal(503, "Overloaded", f"{MAX_IN_FLIGHT} requests are in flight already").answer()
        self._in_flight += 1
        try:
            images, options = await _asked(request)
            return await self._answer(images, **options)
        except Refusal as refusal:
            return refusal.answer()
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self._in_flight -= 1

    async def _answer(self, images: list[tuple[str, bytes]], **options: Any) -> Response:
        model = await anyio.to_thread.run_sync(self.load)
        self._turns = self._turns or anyio.CapacityLimiter(AT_ONCE)
        entries: list[dict[str, Any]] = [{} for _ in images]

        async def one(i: int, name: str, data: bytes) -> None:
            try:
                found = await anyio.to_thread.run_sync(lambda: model.predict(data, **options), limiter=self._turns)
            except ImageError as error:
                found = {"labels": [], "error": {"code": "ImageError", "message": f"{name}: {error}", "hint": ""}}
            entries[i] = {"image": name, **found}

        async with anyio.create_task_group() as group:
            for i, (name, data) in enumerate(images):
                group.start_soon(one, i, name, data)
        if all("error" in entry for entry in entries):
            return JSONResponse({"error": entries[0]["error"]}, 400)
        return JSONResponse({"model": model.card["model"], "images": entries})


async def _asked(request: Request) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    """Names and bytes of the images, and the options. Raises Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            await _read_body(request)
    except TimeoutError:
        raise Refusal(408, "BodyTooSlow", f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    fields: dict[str, Any] = dict(request.query_params)
    if kind == "multipart/form-data":
        images = await _of_form(request, fields)
    elif kind == "application/json":
        images = _of_json(await request.body(), fields)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [("image", await request.body())]
    else:
        raise Refusal(415, "UnsupportedMediaType", "send an image, a form with files, or JSON with base64")
    if not 0 < len(images) <= MOST_IMAGES:
        raise Refusal(400, "NoImage", f"{len(images)} images in the request; 1 to {MOST_IMAGES} are taken")
    return images, {
        "min_confidence": _number(fields, "min_confidence", 100.0),
        "max_results": None if (most := _number(fields, "max_results", 2.0**31)) is None else int(most),
    }


async def _read_body(request: Request) -> None:
    """Keep the whole body where Starlette's own readers find it; a long one is refused while it arrives."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, "BodyTooLarge", f"the body is larger than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    request._body = b"".join(chunks)


async def _of_form(request: Request, fields: dict[str, Any]) -> list[tuple[str, bytes]]:
    images = []
    try:
        async with request.form(max_files=MOST_IMAGES, max_fields=16) as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    fields[name] = value
                else:
                    images.append((value.filename or name, await value.read()))
    except (MultiPartException, ValueError, KeyError, AssertionError, LookupError) as error:
        raise Refusal(400, "InvalidForm", f"the form cannot be read: {str(error)[:200]}") from None
    except Exception as error:  # Starlette turns what it cannot parse into an answer of its own
        if getattr(error, "status_code", None) != 400:
            raise
        raise Refusal(400, "InvalidForm", "the form cannot be read") from None
    return images


def _of_json(body: bytes, fields: dict[str, Any]) -> list[tuple[str, bytes]]:
    try:
        document = json.loads(body)
        texts = document["images"] if "images" in document else [document["image"]]
        found = [
            (f"images[{i}]", base64.b64decode("".join(text.split()), validate=True)) for i, text in enumerate(texts)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise Refusal(400, "InvalidJson", f'expected {{"image": base64}} or {{"images": […]}}; {reason}') from None
    fields.update({name: document[name] for name in ("min_confidence", "max_results") if name in document})
    return found


def _number(fields: dict[str, Any], name: str, most: float) -> float | None:
    if fields.get(name) in (None, ""):
        return None
    try:
        number = float(fields[name])
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= most:  # also refuses NaN
        raise Refusal(400, "InvalidParameter", f"{name}: expected a number from 0 to {most:g}")
    return number


def check() -> int:
    """For a container's health check: 0 if the service in this container is ready."""
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=4) as answer:
            return int(answer.status != 200)
    except (URLError, OSError):
        return 1


def main() -> int:
    import uvicorn

    service = Service(Path(__file__).parent)
    service.load()  # before the port is open, so that whoever can connect is answered
    uvicorn.run(
        service.app(),
        host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 – a container listens on all of its own addresses
        port=PORT,
        log_level="warning",
        timeout_graceful_shutdown=20,
    )
    return 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv[1:] else main())
