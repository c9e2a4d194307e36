"""`tenshot bench`: drive a running endpoint with real images, one number of clients after the other."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenshot.projects.errors import UsageError
from tenshot.projects.processes import cores
from tenshot.serving.benching import figures, load, pictures, watch
from tenshot.serving.endpoints.keyring import certificate_of, local_credentials

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint, ModelVersion
    from tenshot.projects.workspace import Workspace
    from tenshot.serving.benching.figures import Recommendation, Stage

MOST_CLIENTS = 512
WARM_UP = 0.1
"""Of a stage's time, with one client, before the first stage and not counted; at most WARM_UP_S."""
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    ref: str
    url: str
    started: bool
    """The endpoint did not run and was started for this, and stopped again."""
    images: dict[str, Any]
    cores: int
    stages: tuple[Stage, ...]
    knee: Stage | None
    recommendation: Recommendation | None
    interrupted: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.ref,
            "url": self.url,
            "started": self.started,
            "images": self.images,
            "cores": self.cores,
            "stages": [one.to_json() for one in self.stages],
            "knee": self.knee and self.knee.clients,
            "recommendation": self.recommendation and self.recommendation.to_json(),
            "interrupted": self.interrupted,
        }


@dataclass
class Plan:
    clients: tuple[int, ...]
    seconds: float
    """Of each stage."""
    rate: float | None = None
    words: Sequence[str] = ()
    say: Callable[[str], None] = field(default=lambda _: None)


def parse_clients(text: str) -> tuple[int, ...]:
    """`1,2,4,8`, ascending and each once. Raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) < 6 and 1 <= int(word) <= MOST_CLIENTS for word in words):
        raise UsageError(f"--clients: got {text!r}, expected whole numbers from 1 to {MOST_CLIENTS} as in 1,2,4,8")
    return tuple(sorted({int(word) for word in words}))


def bench(workspace: Workspace, ref: str, plan: Plan) -> Report:
    """Measure the version's endpoint; starts it if it does not run, and stops it then at the end.

    Every image counts in the ledger, as anybody's does. Ctrl-C ends it early: the report holds what was measured so
    far. Raises UsageError, EndpointError, EmptyDataError, ImageError.
    """
    _check(plan)
    version = workspace.resolve(ref)
    sent = pictures.chosen(workspace, version, plan.words)
    stages: list[Stage] = []
    with _endpoint(workspace, version, plan.say) as (endpoint, started), suppress(KeyboardInterrupt):
        stages.extend(_stages(workspace, version, endpoint, sent, plan))
    interrupted = len(stages) < len(plan.clients) or not stages[-1].complete
    knee = figures.knee(stages)
    machine = cores()
    wanted = figures.recommend(plan.rate, knee, machine) if plan.rate and knee else None
    known = pictures.described(sent)
    return Report(version.ref, endpoint.url, started, known, machine, tuple(stages), knee, wanted, interrupted)


def _check(plan: Plan) -> None:
    if not 0 < plan.seconds <= 86400:
        raise UsageError(f"--seconds: got {plan.seconds:g}, expected more than 0 and at most a day")
    if plan.rate is not None and not (plan.rate > 0 and math.isfinite(plan.rate)):
        raise UsageError(f"--rate: got {plan.rate:g}, expected requests a second, more than 0")


@contextmanager
def _endpoint(
    workspace: Workspace, version: ModelVersion, say: Callable[[str], None]
) -> Iterator[tuple[Endpoint, bool]]:
    from tenshot.serving.endpoints import control
    from tenshot.serving.endpoints.access import Access

    running = control.running(workspace, version)
    if running is not None:
        yield running, False
        return
    say(f"{version.ref} does not run; it is started for this, and stopped again at the end")
    result = control.start(workspace, version.ref, access=Access.of(workspace, local=True))
    try:
        yield result.endpoint, result.started
    finally:
        if result.started:
            control.stop(workspace, version.ref)


def _stages(
    workspace: Workspace, version: ModelVersion, endpoint: Endpoint, sent: Sequence[pictures.Picture], plan: Plan
) -> Iterator[Stage]:
    """Ends with one that was interrupted, if anything was measured of it."""
    bodies = tuple((str(one.path.absolute()), one.content_type) for one in sent)
    headers = local_credentials(workspace, endpoint)
    certificate = str(certificate_of(workspace, endpoint)) if endpoint.tls else None
    warm_up_s = min(WARM_UP_S, WARM_UP * plan.seconds)
    job = load.Job(f"{endpoint.url}/predict", bodies, 1, warm_up_s, headers=headers, certificate=certificate)
    if not load.measure(job).complete:
        return
    root = endpoint.supervisor_pid if endpoint.supervisor_host in (None, socket.gethostname()) else None
    for clients in plan.clients:
        plan.say(f"{clients} client{'s' if clients > 1 else ''}, {plan.seconds:g} s")
        seen = watch.Watch(root) if root else None
        job = load.Job(job.url, bodies, clients, plan.seconds, headers=job.headers, certificate=job.certificate)
        found = load.measure(job, tick=seen.look if seen else lambda: None)
        if seen:
            seen.look()
        now = workspace.store.endpoint(version.id) or endpoint
        if not found.complete and not found.count:
            return
        yield figures.stage(
            clients,
            found,
            units=now.workers or now.units,
            cpu_s=seen.cpu_s if seen else None,
            memory_bytes=watch.memory_bytes(root) if root else None,
        )
        if not found.complete:
            return
