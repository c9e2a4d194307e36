"""What the supervisor tells the service that it starts, in one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenshot.projects.settings import Settings

VARIABLE = "TENSHOT_ENDPOINT"


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    threads: int = 0
    """CPU threads of the network; 0: as many as cores."""
    max_body_bytes: int = 16 * 2**20
    max_batch_size: int = 8
    max_latency_ms: int = 10_000
    max_in_flight: int = 64
    max_megapixels: float = 100.0
    access_log: str = "json"
    """`json`: a line a request on stderr; `off`: none."""
    log_file_names: bool = False
    journal: str | None = None
    """File to which every answered image is written; None: usage is not counted here (a Bento run by hand)."""
    keys: str | None = None
    """File of the access keys, see `keyring`; None: everybody may call."""
    rates: str | None = None
    """Folder of the token buckets; None: as often as they like."""
    rate_per_s: float = 0.0
    rate_burst: int = 1
    header_timeout_s: float = 10.0
    max_connections: int = 512
    tls_cert: str | None = None
    tls_key: str | None = None
    board: int | None = None
    """Descriptor of the page through which the worker and its supervisor talk, see `board`."""

    @classmethod
    def of(
        cls, settings: Settings, *, threads: int, journal: Path, board: int | None = None, **more: Any
    ) -> EndpointConfig:
        """What one worker is told; `more` are further fields by name."""
        serving = settings.serving
        return cls(
            threads=threads,
            max_body_bytes=serving.max_body_bytes,
            max_batch_size=serving.max_batch_size,
            max_latency_ms=serving.max_latency_ms,
            max_in_flight=serving.max_in_flight,
            max_megapixels=settings.images.max_megapixels,
            access_log=serving.access_log,
            log_file_names=serving.log_file_names,
            rate_per_s=serving.rate_per_s,
            rate_burst=serving.rate_burst,
            header_timeout_s=serving.header_timeout_s,
            max_connections=serving.max_connections,
            journal=str(journal),
            board=board,
            **more,
        )

    @classmethod
    def from_environment(cls) -> EndpointConfig:
        """What the supervisor said, or the defaults where there is none (a Bento in a container)."""
        return cls(**json.loads(os.environ.get(VARIABLE) or "{}"))

    def to_environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}
