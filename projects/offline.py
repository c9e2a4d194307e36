"""Nothing that Tenshot stands on calls home: what the libraries read from the environment, unless the user set it.

Each is read when its library is imported, so this runs before any of them.
"""

from __future__ import annotations

import os
from types import MappingProxyType

DEFAULTS = MappingProxyType(
    {
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
    }
)


def set_defaults() -> None:
    """Set what is not set yet; child processes inherit it."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
