"""The BentoML service of one model version: the bundle beside it, a batched network, and the routes of `web`.

Imported in the endpoint's process only, with the Bento's `src` folder as the working directory (BentoML sees to that).
Nothing here or below may import torch, Lightning, Optuna, Ultralytics or MLflow.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import yaml
from _bentoml_sdk import Service

from tenshot.automl.bundle import read_manifest
from tenshot.automl.predictor import Predictor
from tenshot.automl.second_look import MOST
from tenshot.automl.usual import Usual
from tenshot.serving.endpoints.board import Board
from tenshot.serving.endpoints.config import EndpointConfig
from tenshot.serving.endpoints.drift_file import Recorder, path_in
from tenshot.serving.endpoints.gate import App
from tenshot.serving.endpoints.measures import Measures
from tenshot.serving.endpoints.openapi import document
from tenshot.serving.endpoints.watch import Watch

BUNDLE = "bundle"
"""Folder of the bundle inside the Bento's `src`."""
CONFIG = EndpointConfig.from_environment()
WATCH = Watch(None if CONFIG.board is None else Board(CONFIG.board))
"""Outermost of the application."""


class OpenApi(dict[str, Any]):
    """What BentoML wants of a service's OpenAPI document."""

    def asdict(self) -> dict[str, Any]:
        return dict(self)


yaml.add_representer(OpenApi, lambda dumper, data: dumper.represent_dict(data))


class VersionService(Service[Any]):
    """BentoML's service with our routes mounted and a gate before them."""

    def to_asgi(self, is_main: bool = True) -> Any:
        from _bentoml_impl.server.app import ServiceAppFactory

        from tenshot.serving.endpoints.batching import Batcher
        from tenshot.serving.endpoints.gate import Gate, overloaded
        from tenshot.serving.endpoints.tracing import Traced
        from tenshot.serving.endpoints.web import Web

        self.inject_config()
        factory = ServiceAppFactory(self, is_main=is_main)

        batcher = Batcher(
            lambda batch: bentoml.get_current_service().run(batch),
            most=CONFIG.max_batch_size,
            longest_s=CONFIG.max_latency_ms / 1000,
            overdue=lambda: overloaded(CONFIG.max_in_flight),
        )

        async def infer(array: Any) -> Any:
            return await WATCH.infer(batcher, array)

        ref = ref_of(Path(BUNDLE))
        measures = measures_of(ref)
        hours = path_in(Path(CONFIG.journal).parent) if CONFIG.journal else None
        recorder = Recorder(hours, Usual.load(Path(BUNDLE)), measures.drift)
        web = Web(ref, lambda: bentoml.get_current_service().predictor, infer, CONFIG, measures, recorder)
        self.mount_asgi_app(web.app(), name="tenshot")
        gate = Gate(factory(), measures, max_in_flight=CONFIG.max_in_flight, touch=WATCH.touch, predict=web)
        app = guarded(gate, ref.rpartition("@")[0], measures)
        return WATCH.around(Traced(app, ref, log=CONFIG.access_log == "json"))

    @property
    def openapi_spec(self) -> Any:
        # While a Bento is built, the working directory is not the folder of the service.
        beside = Path(self.working_dir, BUNDLE)
        return OpenApi(document(ref_of(beside if beside.is_dir() else Path(BUNDLE)), CONFIG.max_body_bytes))


def guarded(app: App, project: str, measures: Measures) -> App:
    """Behind a guard, where the supervisor said whom to let in or how often."""
    from tenshot.serving.endpoints.guard import Guard
    from tenshot.serving.endpoints.keyring import Ring
    from tenshot.serving.endpoints.rates import Buckets

    ring = Ring(Path(CONFIG.keys)) if CONFIG.keys else None
    limited = CONFIG.rates and CONFIG.rate_per_s > 0
    buckets = Buckets(Path(CONFIG.rates), CONFIG.rate_per_s, CONFIG.rate_burst) if CONFIG.rates and limited else None
    return Guard(app, project, ring=ring, buckets=buckets, refused=measures.turned_away) if ring or buckets else app


@cache
def measures_of(ref: str) -> Measures:
    """The one of this process: its names are registered once."""
    return Measures(ref)


def ref_of(bundle: Path) -> str:
    manifest = read_manifest(bundle)
    return f"{manifest.project}@{manifest.version}"


@bentoml.service(
    name="tenshot",
    service_class=VersionService,
    workers=1,
    traffic={"timeout": 120},
    # Tracing has no exporter and the access log would be one line a request into a file that nobody rotates.
    logging={"access": {"enabled": False}},
)
class ModelVersion:
    """Answers images of one model version."""

    def __init__(self) -> None:
        self.measures = measures_of(ref_of(Path(BUNDLE)))
        self.predictor = Predictor.load(Path(BUNDLE), threads=CONFIG.threads)
        shape = (1, 3, self.predictor.manifest.input.height, self.predictor.manifest.input.width)
        # The warm-up: the first run allocates and compiles kernels. Largest batch first, so that memory is taken once.
        for size in (CONFIG.max_batch_size, 1):
            self.predictor.network(np.zeros((size, *shape[1:]), np.float32))
        if second := self.predictor.second:
            second.network(np.zeros((MOST, 3, second.input.height, second.input.width), np.float32))
        self.warm = True

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=CONFIG.max_batch_size, max_latency_ms=CONFIG.max_latency_ms
    )
    def infer(self, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]  # BentoML reads the plain type
        """[N, 3, H, W] float32 → the network's output. Closed to the network; see `gate`."""
        return self.run(batch)

    def run(self, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        with WATCH.running(), self.measures.run(len(batch)):
            return self.predictor.network(batch)

    def __is_ready__(self) -> bool:
        return self.warm


service = ModelVersion
