"""Lets in who may call: an access key for every route but the signs of life, and no more requests than its share.

Plain ASGI before the gate. A key comes as HTTP Basic (`curl -u ID:SECRET`) or as `Authorization: Bearer ID:SECRET`. Its
id goes into the scope, for the log and the ledger.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tenshot.projects.errors import RequestError
from tenshot.projects.keys import NOBODY, Action, is_secret, may
from tenshot.serving.endpoints.gate import PREDICT, App, Receive, Scope, Send, answer
from tenshot.serving.endpoints.keyring import LOCAL
from tenshot.serving.endpoints.tracing import KEY

if TYPE_CHECKING:
    from tenshot.serving.endpoints.keyring import Entry, Ring
    from tenshot.serving.endpoints.rates import Buckets

OPEN = frozenset({"/livez", "/readyz", "/healthz"})
"""For load balancers and monitors, which have no key; they tell nothing but whether it lives."""
CHALLENGE = 'Basic realm="tenshot", charset="UTF-8", Bearer realm="tenshot"'
HOW = "send an access key: curl -u ID:SECRET …, or Authorization: Bearer ID:SECRET"


class Guard:
    def __init__(
        self,
        app: App,
        project: str,
        *,
        ring: Ring | None,
        buckets: Buckets | None = None,
        refused: Callable[[int], None] = lambda status: None,
    ) -> None:
        """`ring` None: everybody may call. `buckets` None: as often as they like; with both, all callers share one.
        `refused` is told the status of each refusal."""
        self.app = app
        self.project = project
        self.ring = ring
        self.buckets = buckets
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN and (error := self._refuse(scope)) is not None:
            self.refused(error.status)
            await answer(send, error.status, error.document(), _headers(error))
            return
        await self.app(scope, receive, send)

    def _refuse(self, scope: Scope) -> RequestError | None:
        key_id = ""
        if self.ring is not None:
            given = credentials(scope)
            if given is None or (entry := self._known(self.ring, *given)) is None:
                return unauthorized("no access key was sent" if given is None else "this access key is not known")
            key_id = scope[KEY] = given[0]
            action = Action.PREDICT if scope["path"] == PREDICT else Action.READ
            if not may(entry.role, entry.projects, action, self.project):
                return forbidden(entry.role, entry.projects, action, self.project)
        if self.buckets is not None and scope["path"] == PREDICT and key_id != LOCAL:
            return too_many(wait_s) if (wait_s := self.buckets.wait_s(key_id)) else None
        return None

    def _known(self, ring: Ring, key_id: str, secret: str) -> Entry | None:
        """In the same time whether the id or the secret is wrong."""
        entry = ring.find(key_id)
        return entry if is_secret(secret, entry.sha256 if entry else NOBODY) else None


def credentials(scope: Scope) -> tuple[str, str] | None:
    """Id and secret of the one Authorization header; None if there is none, or several, or it says something else."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, rest = found[0].partition(b" ")
    said = rest.strip()
    if scheme.lower() == b"basic":
        try:
            said = base64.b64decode(said, validate=True)
        except (binascii.Error, ValueError):
            return None
    elif scheme.lower() != b"bearer":
        return None
    key_id, colon, secret = said.decode("utf-8", "replace").partition(":")
    return (key_id, secret) if colon and key_id else None


def unauthorized(why: str) -> RequestError:
    return RequestError(401, "Unauthorized", why, hint=HOW)


def forbidden(role: str, projects: tuple[str, ...], action: Action, project: str) -> RequestError:
    if projects and project not in projects:
        reason = f"this access key is for other projects than {project}"
    else:
        reason = f"this access key has the role {role}, which may not {action}"
    return RequestError(403, "Forbidden", reason, hint="ask for another key: tenshot keys create --role …")


def too_many(wait_s: float) -> RequestError:
    error = RequestError(
        429, "TooManyRequests", "this access key has sent more requests than its share", hint="wait as Retry-After says"
    )
    error.fields["retry_after"] = max(1, math.ceil(wait_s))
    return error


def _headers(error: RequestError) -> dict[str, str]:
    if error.status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    return {"Retry-After": str(error.fields["retry_after"])} if error.status == 429 else {}
