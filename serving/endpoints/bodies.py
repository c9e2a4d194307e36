"""From the body of a request to images (still encoded) and options. No network, no decoding.

multipart/form-data        any number of files; fields min_confidence, max_results
application/json           {"image": base64} or {"images": [base64, …]}, min_confidence, max_results
image/*, octet-stream      the image itself; options in the query string
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from tenshot.projects.errors import RequestError

MOST_IMAGES = 64
"""In one request."""
MOST_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    images: tuple[Upload, ...]
    min_confidence: float | None = None
    """0…100; None: each label's own threshold."""
    max_results: int | None = None


async def parse(content_type: str, body: bytes, query: Mapping[str, str]) -> Ask:
    """Raises RequestError: 415 for a content type that is none of ours, 400 for a body that is not what it says."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(content_type, body, query)
    if kind == "application/json" or kind.endswith("+json"):
        return _json(body, query)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _ask([Upload("image", body)], query)
    raise RequestError(
        415,
        "UnsupportedMediaType",
        f"content type {kind[:100] or '(none)'!r} is not understood",
        hint="send multipart/form-data, application/json, image/* or application/octet-stream",
    )


def _ask(images: list[Upload], options: Mapping[str, Any]) -> Ask:
    if not images:
        raise RequestError(
            400, "NoImage", "the request holds no image", hint='send a file field, or {"image": "<base64>"}'
        )
    if len(images) > MOST_IMAGES:
        raise RequestError(
            400,
            "TooManyImages",
            f"{len(images)} images in one request; at most {MOST_IMAGES}",
            hint="split the request",
        )
    return Ask(tuple(images), _confidence(options.get("min_confidence")), _results(options.get("max_results")))


def _confidence(value: Any) -> float | None:
    if value is None or value == "":
        return None
    number = _number("min_confidence", value)
    if not 0 <= number <= 100:  # also refuses NaN
        raise _bad_option("min_confidence", value, "a number from 0 to 100")
    return number


def _results(value: Any) -> int | None:
    if value is None or value == "":
        return None
    number = _number("max_results", value)
    if not (number >= 0 and number == math.floor(number) and math.isfinite(number)):
        raise _bad_option("max_results", value, "a whole number, 0 or more")
    return int(min(number, 2**31))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad_option(name, value, "a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _bad_option(name, value, "a number") from None
    if not math.isfinite(number):
        raise _bad_option(name, value, "a finite number")
    return number


def _bad_option(name: str, value: Any, expected: str) -> RequestError:
    shown = value if isinstance(value, str) else type(value).__name__ if isinstance(value, dict | list) else value
    try:
        text = repr(shown)
    except ValueError:  # an integer with more digits than Python prints
        text = "a huge number"
    return RequestError(400, "InvalidParameter", f"{name}: got {text[:80]}, expected {expected}")


def _json(body: bytes, query: Mapping[str, str]) -> Ask:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise RequestError(400, "InvalidJson", f"the body is not JSON: {reason}") from None
    if not isinstance(document, dict):
        raise RequestError(
            400,
            "InvalidJson",
            f"the body is a JSON {type(document).__name__}, expected an object",
            hint='{"image": "…"}',
        )
    if ("image" in document) == ("images" in document):
        raise RequestError(400, "NoImage", 'expected either "image" (base64) or "images" (a list of base64)')
    many = document["images"] if "images" in document else [document["image"]]
    if not isinstance(many, list):
        raise RequestError(400, "InvalidParameter", '"images" must be a list of base64 strings')
    if len(many) > MOST_IMAGES:
        raise RequestError(400, "TooManyImages", f"{len(many)} images in one request; at most {MOST_IMAGES}")
    names = [f"images[{i}]" for i in range(len(many))] if "images" in document else ["image"]
    images = [Upload(name, _base64(name, text)) for name, text in zip(names, many, strict=True)]
    return _ask(images, {**query, **document})


def _base64(name: str, text: Any) -> bytes:
    if not isinstance(text, str):
        raise RequestError(400, "InvalidBase64", f"{name}: got a {type(text).__name__}, expected a base64 string")
    try:
        # Line breaks are legal in MIME's base64; anything else that is not of the alphabet is a mistake.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            400, "InvalidBase64", f"{name}: not base64", hint="encode the image file's bytes, without a data: prefix"
        ) from None


async def _multipart(content_type: str, body: bytes, query: Mapping[str, str]) -> Ask:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        Headers({"content-type": content_type}),
        stream(),  # type: ignore[arg-type]  # an async generator in all but name
        max_files=MOST_IMAGES,
        max_fields=MOST_FIELDS,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(400, "InvalidForm", f"the form cannot be read: {error.message[:200]}") from None
    except (ValueError, KeyError, AssertionError, LookupError) as error:
        raise RequestError(400, "InvalidForm", f"the form cannot be read: {str(error)[:200]}") from None
    images: list[Upload] = []
    options: dict[str, Any] = dict(query)
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(Upload(value.filename or name, await value.read()))
            else:
                options[name] = value
    finally:
        await form.close()
    return _ask(images, options)
