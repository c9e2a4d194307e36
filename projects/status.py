"""What states the nouns can be in and which changes are legal.

Names and transitions are those of Amazon Rekognition Custom Labels, because the HTTP API shows the same objects.
`check()` is the only judge; `Store.advance_*` is the only caller that changes a status.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from tenshot.projects.errors import IllegalTransition


class Task(StrEnum):
    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    DETECTION = "detection"


class _Status(StrEnum):
    """Equal to its own word, but not to the same word of another noun: a running job is no running version."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Status) and type(other) is not type(self):
            return False
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class ProjectStatus(_Status):
    CREATING = "CREATING"
    CREATED = "CREATED"
    DELETING = "DELETING"


class DatasetStatus(_Status):
    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    CREATE_COMPLETE = "CREATE_COMPLETE"
    CREATE_FAILED = "CREATE_FAILED"


class VersionStatus(_Status):
    """The status of a model version; from STARTING on it is also the state of its endpoint."""

    TRAINING_IN_PROGRESS = "TRAINING_IN_PROGRESS"
    TRAINING_COMPLETED = "TRAINING_COMPLETED"
    TRAINING_FAILED = "TRAINING_FAILED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DELETING = "DELETING"


class JobStatus(_Status):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_P, _D, _V, _J = ProjectStatus, DatasetStatus, VersionStatus, JobStatus

TRANSITIONS: dict[StrEnum, frozenset[StrEnum]] = {
    _P.CREATING: frozenset({_P.CREATED, _P.DELETING}),
    _P.CREATED: frozenset({_P.DELETING}),
    _P.DELETING: frozenset(),
    _D.CREATE_IN_PROGRESS: frozenset({_D.CREATE_COMPLETE, _D.CREATE_FAILED}),
    _D.CREATE_COMPLETE: frozenset(),
    _D.CREATE_FAILED: frozenset(),
    # A training that its process left behind goes on in another process without leaving TRAINING_IN_PROGRESS.
    _V.TRAINING_IN_PROGRESS: frozenset({_V.TRAINING_COMPLETED, _V.TRAINING_FAILED}),
    _V.TRAINING_FAILED: frozenset({_V.DELETING, _V.TRAINING_IN_PROGRESS}),  # the second one is `train --resume`
    _V.TRAINING_COMPLETED: frozenset({_V.STARTING, _V.DELETING}),
    _V.STARTING: frozenset({_V.RUNNING, _V.FAILED, _V.STOPPING}),
    _V.RUNNING: frozenset({_V.STOPPING, _V.FAILED, _V.STARTING}),  # the last one is a restart after a crash
    _V.STOPPING: frozenset({_V.STOPPED, _V.FAILED}),
    _V.STOPPED: frozenset({_V.STARTING, _V.DELETING}),
    _V.FAILED: frozenset({_V.STARTING, _V.STOPPING, _V.DELETING}),
    _V.DELETING: frozenset(),
    _J.QUEUED: frozenset({_J.RUNNING, _J.CANCELLED}),
    _J.RUNNING: frozenset({_J.QUEUED, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    _J.SUCCEEDED: frozenset(),
    _J.FAILED: frozenset({_J.QUEUED}),
    _J.CANCELLED: frozenset({_J.QUEUED}),
}

TRAINED = frozenset({_V.TRAINING_COMPLETED, _V.STARTING, _V.RUNNING, _V.FAILED, _V.STOPPING, _V.STOPPED})
"""Statuses of a version that has a bundle."""

IN_SERVICE = frozenset({_V.STARTING, _V.RUNNING, _V.STOPPING})
"""Statuses of a version whose endpoint exists."""

S = TypeVar("S", bound=StrEnum)


def check(what: str, current: S, to: S) -> S:
    """Return `to` if the change from `current` is legal, else raise IllegalTransition."""
    if to not in TRANSITIONS[current]:
        legal = ", ".join(sorted(TRANSITIONS[current])) or "nothing, it is final"
        raise IllegalTransition(
            f"{what} is {current}, so it cannot become {to}", hint=f"from {current} it can become: {legal}"
        )
    return to
