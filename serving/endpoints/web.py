"""POST /predict, the OpenAPI document and its page: the routes that an endpoint adds to BentoML's.

Decoding and resizing run in threads outside the batch, so that a slow image holds up nobody; only the network's inputs,
all of one shape, are put together (batching.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tenshot.automl.predictor import RGB, Observation, Predictor, prepare
from tenshot.datasets.images import decode
from tenshot.projects.errors import ImageError, RequestError, TenshotError
from tenshot.projects.status import Task
from tenshot.serving.endpoints.bodies import Ask, Upload, parse
from tenshot.serving.endpoints.gate import RETRY_AFTER_S
from tenshot.serving.endpoints.openapi import PAGE, document
from tenshot.serving.endpoints.tracing import KEY, TRACE, Trace

if TYPE_CHECKING:
    from tenshot.serving.endpoints.config import EndpointConfig
    from tenshot.serving.endpoints.drift_file import Recorder
    from tenshot.serving.endpoints.gate import Receive, Scope, Send
    from tenshot.serving.endpoints.measures import Measures

log = logging.getLogger(__name__)

Infer = Callable[[NDArray[np.float32]], Awaitable[NDArray[np.float32]]]
"""[1, 3, H, W] → [1, …] through the batcher (batching.py). Raises RequestError 503 if it does not come round to it."""
DECODERS = 2
"""Images decoded at once: bounds the memory that photos at the size limit can take together."""
KEPT_BYTES = 256 << 20
"""Decoded images that wait for a second look (automl/second_look.py) while the network answers others; what is beyond
is decoded again."""
BODY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
DRAINED_BODIES = 4
"""How much of a body that is too large is read and thrown away, in multiples of the limit: a client that is still
sending would otherwise see a broken pipe instead of the 413."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    array: NDArray[np.float32]
    """[1, 3, H, W]: the network's input."""
    image_hw: tuple[int, ...]
    image: RGB | None
    """If it is to be looked at again."""
    began: float
    """time.perf_counter."""
    seconds: float


class Web:
    """`predictor` is asked for late: BentoML makes the service when its application starts."""

    def __init__(
        self,
        ref: str,
        predictor: Callable[[], Predictor],
        infer: Infer,
        config: EndpointConfig,
        measures: Measures,
        recorder: Recorder | None = None,
    ) -> None:
        self.ref = ref
        self.predictor = predictor
        self.infer = infer
        self.config = config
        self.measures = measures
        self.recorder = recorder
        # Threads of our own: a call costs less than with anyio's, and a caller who goes away does not wait for it.
        self._decoders = ThreadPoolExecutor(DECODERS, "decode")
        self._kept_bytes = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/predict", self.predict, methods=["POST"]),
                Route("/docs.json", self.openapi, methods=["GET"]),
                Route("/", self.page, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self.recorder:
            self.recorder.start()
        yield
        if self.recorder:
            await asyncio.to_thread(self.recorder.stop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /predict as plain ASGI."""
        response = await self.predict(Request(scope, receive))
        await response(scope, receive, send)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document(self.ref, self.config.max_body_bytes))

    async def page(self, _: Request) -> Response:
        return HTMLResponse(PAGE.replace("{ref}", escape(self.ref)))

    async def predict(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._predict(request)
        except RequestError as error:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else {}
            return _json(error.status, error.document(), headers)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except TimeoutError:
            return _json(504, _too_slow().document(), {})
        except Exception:
            log.exception("a request to %s failed", self.ref)
            return _json(500, RequestError(500, "InternalError", "the endpoint failed; see its log").document(), {})

    async def _predict(self, request: Request) -> Response:
        trace = request.scope.get(TRACE) or Trace("")
        body = await _in_time(read_body(request, self.config.max_body_bytes))
        trace.size = len(body)
        ask = await parse(request.headers.get("content-type", ""), body, request.query_params)
        del body
        trace.images = len(ask.images)
        if self.config.log_file_names:
            trace.names = [upload.name for upload in ask.images]
        return await self._answer(ask, trace, request.scope.get(KEY, ""))

    async def _answer(self, ask: Ask, trace: Trace, key: str) -> Response:
        if len(ask.images) == 1:  # a task of its own would cost, and change nothing
            entries = [await self._entry(ask.images[0], ask)]
        else:
            entries = await asyncio.gather(*(self._entry(upload, ask) for upload in ask.images))
        good = [entry for entry in entries if not isinstance(entry, TenshotError)]
        bad = [entry for entry in entries if isinstance(entry, TenshotError)]
        self.measures.images(len(good), len(bad))
        if len(bad) == len(entries):
            return _json(400, bad[0].document(), {})
        # Before the answer is sent: work that was done is counted even if the process ends in the next moment.
        self._count(len(good), key)
        for seen in good:
            self.measures.image(seen)
            if self.recorder:
                self.recorder.seen(seen.signals)
        trace.best = [round(100.0 * seen.best, 1) for seen in good]
        images = [
            {"image": upload.name, "labels": [], **entry.document()}
            if isinstance(entry, TenshotError)
            else {"image": upload.name, **entry.document}
            for upload, entry in zip(ask.images, entries, strict=True)
        ]
        return _json(200, {"model": self.ref, "images": images}, {})

    def _count(self, images: int, key: str) -> None:
        if self.config.journal:
            from tenshot.projects.metering import journal

            try:
                journal.append(Path(self.config.journal), "predict", images, time.time(), key)
            except OSError as error:  # what cannot be counted is not answered: nobody could say later what was used
                log.error("an answer cannot be counted: %s", error)
                raise RequestError(
                    503, "CannotCount", "the endpoint cannot write down what it does", hint="try again later"
                ) from None

    async def _entry(self, upload: Upload, ask: Ask) -> Observation | ImageError:
        predictor, loop = self.predictor(), asyncio.get_running_loop()
        asked = time.perf_counter()
        try:
            found = await loop.run_in_executor(self._decoders, self._decode, upload, predictor)
        except ImageError as error:
            return error
        self.measures.decoded(found.began - asked, found.seconds)
        image_hw = found.image_hw
        with self._kept(found.image) as kept:
            array = found.array
            del found
            raw = await self._infer(array)

            def read() -> Observation:
                seen = predictor.again(raw, self._image(upload) if kept is None else kept) if predictor.second else raw
                return predictor.observe(seen, image_hw, min_confidence=ask.min_confidence, max_results=ask.max_results)

            if predictor.manifest.task is Task.DETECTION:  # suppression takes milliseconds, not microseconds
                return await loop.run_in_executor(self._decoders, read)
            return read()

    def _decode(self, upload: Upload, predictor: Predictor) -> _Decoded:
        began = time.perf_counter()
        image = self._image(upload)
        array = prepare(image, predictor.manifest.input)[None]
        kept = image if predictor.second else None
        return _Decoded(array, image.shape[:2], kept, began, time.perf_counter() - began)

    def _image(self, upload: Upload) -> RGB:
        return decode(upload.data, name=upload.name, max_megapixels=self.config.max_megapixels)

    @contextmanager
    def _kept(self, image: RGB | None) -> Iterator[RGB | None]:
        """The image where there is room for it."""
        size = image.nbytes if image is not None else 0
        if self._kept_bytes + size > KEPT_BYTES:
            image, size = None, 0
        self._kept_bytes += size
        try:
            yield image
        finally:
            self._kept_bytes -= size

    async def _infer(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        asked = time.perf_counter()
        row = np.asarray((await self.infer(array))[0], np.float32)
        self.measures.inferred(time.perf_counter() - asked)
        return row


async def _in_time(body: Awaitable[bytes]) -> bytes:
    """Raises RequestError 408: a client that sends a byte now and then must not hold a place for ever."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await body
    except TimeoutError:
        raise RequestError(
            408, "BodyTooSlow", f"the body did not arrive within {BODY_TIMEOUT_S:g} s", hint="send smaller requests"
        ) from None


async def read_body(request: Request, most: int) -> bytes:
    """The whole body. Raises RequestError 413 above `most` bytes, whether or not the client said its length."""
    chunks: list[bytes] = []
    size, stated = 0, request.headers.get("content-length", "")
    too_large = stated.isdecimal() and int(stated) > most
    async for chunk in request.stream():
        size += len(chunk)
        too_large = too_large or size > most
        if too_large:
            chunks.clear()
            if size > DRAINED_BODIES * most:
                break
        else:
            chunks.append(chunk)
    if too_large:
        raise RequestError(
            413,
            "BodyTooLarge",
            f"the body is larger than {most} bytes",
            hint="send fewer or smaller images, or raise serving.max_body_bytes",
        )
    return b"".join(chunks)


def _too_slow() -> RequestError:
    return RequestError(504, "TooSlow", f"no answer within {ANSWER_TIMEOUT_S:g} s", hint="send fewer images at once")


def _json(status: int, document: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(json.dumps(document), status_code=status, headers=headers, media_type="application/json")
