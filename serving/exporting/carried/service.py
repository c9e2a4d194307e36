"""The BentoML service of an exported model; `app.py` and `predict.py` beside it do the work.

SPDX-License-Identifier: AGPL-3.0-or-later
"""

from __future__ import annotations

from pathlib import Path

import bentoml
from app import Service  # type: ignore[import-not-found]

SERVICE = Service(Path(__file__).parent)


@bentoml.service(name="exported_model", workers=1, traffic={"timeout": 120})
@bentoml.asgi_app(SERVICE.app(), path="/")
class ExportedModel:
    """Answers POST /predict."""

    def __init__(self) -> None:
        SERVICE.load()
