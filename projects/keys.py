"""Access keys: who may call, and what they may do.

A key is an id that may be known (`TSAK` and 16 letters or digits, as AWS writes them) and a secret of 240 random bits
that is shown once. The store keeps its SHA-256, which is what a caller is checked with (a secret of that size needs no
slow hash), and the secret sealed with the key file of the workspace, for protocols whose callers sign with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from tenshot.projects.errors import AccessError, AlreadyExists, KeyFileError, UnknownNameError
from tenshot.projects.records import AccessKey
from tenshot.projects.sealing import Seal

if TYPE_CHECKING:
    from tenshot.projects.store import Store
    from tenshot.projects.workspace import Workspace

PREFIX = "TSAK"
ID_LENGTH = 20
ALPHABET = string.ascii_uppercase + "234567"
SECRET_BYTES = 30
"""Forty characters that are safe in URLs."""
LONGEST_NOTE = 200
NOBODY = "0" * 64
"""No secret has this hash; compared with where there is no key, so that it takes as long."""


class Role(StrEnum):
    ADMIN = "admin"
    LABELER = "labeler"
    APP = "app"
    READER = "reader"


class Action(StrEnum):
    PREDICT = "predict"
    READ = "read"
    """Metrics, documents, lists, reports."""
    LABEL = "label"
    """Add and change images and their labels."""
    MANAGE = "manage"
    """Train, start, stop, delete."""


MAY: dict[Role, frozenset[Action]] = {
    Role.ADMIN: frozenset(Action),
    Role.LABELER: frozenset({Action.LABEL, Action.READ}),
    Role.APP: frozenset({Action.PREDICT, Action.READ}),
    Role.READER: frozenset({Action.READ}),
}


def create(
    workspace: Workspace, role: Role, *, at: float, projects: Sequence[str] = (), note: str = ""
) -> tuple[AccessKey, str]:
    """A new key and its secret, which nobody can look up again. `projects` empty: every project, also later ones.

    Raises ProjectNotFound, AccessError for a note that is too long, KeyFileError.
    """
    if len(note) > LONGEST_NOTE:
        raise AccessError(f"the note has {len(note)} characters; at most {LONGEST_NOTE} fit", hint="shorten it")
    for name in projects:
        workspace.store.project(name)
    seal = _seal(workspace)
    secret = secrets.token_urlsafe(SECRET_BYTES)
    while True:
        key = AccessKey(
            id=PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH - len(PREFIX))),
            secret_sha256=digest(secret),
            secret_sealed=seal.close(secret),
            role=role,
            projects=tuple(sorted(set(projects))),
            note=note,
            created_at=at,
        )
        try:
            return workspace.store.add_access_key(key), secret
        except AlreadyExists:
            continue


def revoke(workspace: Workspace, key_id: str, at: float) -> AccessKey:
    """For good; running endpoints refuse it within `serving.beat_s`. Raises AccessKeyNotFound."""
    return workspace.store.revoke_access_key(key_id, at=at)


def check(store: Store, key_id: str, secret: str) -> AccessKey | None:
    """The key if it is in force and this is its secret. Takes as long whichever of the two is wrong."""
    found = next((key for key in in_force(store) if key.id == key_id), None)
    right = is_secret(secret, found.secret_sha256 if found else NOBODY)
    return found if right else None


def in_force(store: Store) -> list[AccessKey]:
    """Those that are not revoked, oldest first."""
    return [key for key in store.access_keys() if key.revoked_at is None]


def may(role: str, projects: Iterable[str], action: Action, project: str | None = None) -> bool:
    """Whether a key of this role, limited to `projects` (none: not limited), may do it there. `project` None: what
    belongs to no project, which a limited key may not."""
    limited = set(projects)
    try:
        allowed = action in MAY[Role(role)]
    except ValueError:  # a role of a newer Tenshot
        return False
    return allowed and (not limited or project in limited)


def secret_of(workspace: Workspace, key: AccessKey) -> str:
    """For protocols that sign with it. Raises KeyFileError if the key file is missing or another one."""
    return Seal.of(workspace.home).open(key.secret_sealed)


def role_of(word: str) -> Role:
    """Raises UnknownNameError."""
    try:
        return Role(word)
    except ValueError:
        raise UnknownNameError("role", word, list(Role)) from None


def digest(secret: str) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret(secret: str, sha256: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(secret).encode("ascii"), sha256.encode("ascii"))


def _seal(workspace: Workspace) -> Seal:
    """The seal for a new key. Where keys are in force, only the file that opens them will do: with a fresh one
    nobody would notice that theirs cannot be opened any more. Raises KeyFileError."""
    seal = Seal.of(workspace.home)
    if valid := in_force(workspace.store):
        try:
            seal.open(valid[-1].secret_sealed)
        except KeyFileError as error:
            raise KeyFileError(f"no key was made: {error.message}", hint=error.hint) from None
    seal.make()
    return seal
