"""Getting one file over HTTP: proxies as the environment names them, redirects, a size limit, nothing half."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from tenshot.automl.base.catalogue import public
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from email.message import Message

    from tenshot.projects.settings import ModelSettings

CHUNK_BYTES = 1 << 20
AGENT = "tenshot"


def download(
    url: str, target: Path, settings: ModelSettings, *, hint: str, authorisation: str | None = None
) -> Mapping[str, str]:
    """Write what `url` answers to `target`; returns the headers of the answer and of the redirects before it, names in
    lower case, the first of a name winning.

    `authorisation` goes to the first host only. Raises WeightsError (its `status` field is the HTTP status, None where
    there was no answer) without user, password or query of the address in its message; `target` is then gone.
    """
    watch = _Redirects()
    address, basic = _without_user(url)
    request = urllib.request.Request(address, headers={"User-Agent": AGENT})  # noqa: S310  # http(s) by its pattern
    if authorisation := authorisation or basic:
        request.add_unredirected_header("Authorization", authorisation)
    try:
        with urllib.request.build_opener(watch).open(request, timeout=settings.timeout_s) as answer:
            _copy(answer, target, public(url), settings.max_bytes)
            return {**_lower(answer.headers), **watch.seen}
    except urllib.error.HTTPError as error:
        error.close()
        raise WeightsError(
            f"{public(url)} answers {error.code} {error.reason}", hint=_hint(error.code, hint), status=error.code
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        target.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise WeightsError(f"{public(url)} cannot be reached: {reason}", hint=hint, status=None) from None
    except WeightsError:
        target.unlink(missing_ok=True)
        raise


def _without_user(url: str) -> tuple[str, str | None]:
    """The address, and what its `user:password@` means as a header."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    return urlunsplit(parts._replace(netloc=host)), f"Basic {base64.b64encode(unquote(user).encode()).decode()}"


def _copy(answer: Any, target: Path, what: str, limit_bytes: int) -> None:
    """A server that breaks off in the middle is noticed by the length that it announced."""
    announced = int(answer.headers.get("Content-Length") or -1)
    if announced > limit_bytes:
        raise _too_large(what, announced, limit_bytes)
    got = 0
    with target.open("wb") as sink:
        while chunk := answer.read(CHUNK_BYTES):
            got += len(chunk)
            if got > limit_bytes:
                raise _too_large(what, got, limit_bytes)
            sink.write(chunk)
    if got < announced:
        raise WeightsError(
            f"{what} broke off after {got} of {announced} bytes", hint="nothing was kept; try again", status=200
        )


def _too_large(what: str, size: int, limit_bytes: int) -> WeightsError:
    return WeightsError(
        f"{what} has {size} bytes or more; at most {limit_bytes} are allowed",
        hint="raise the setting models.max_bytes if that is meant",
        status=200,
    )


def _hint(status: int, otherwise: str) -> str:
    if status in (401, 403):
        return "the file needs permission: accept its terms on the hub and put your token into HF_TOKEN"
    return "check the name; the file may have moved" if status in (404, 410) else otherwise


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows them, but never from https to http; keeps their headers, where a hub says what the file is."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise WeightsError(
                f"{public(req.full_url)} leads to {public(newurl)}, which is not encrypted",
                hint="nothing was fetched; check the address",
                status=code,
            )
        self.seen = {**_lower(headers), **self.seen}
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
