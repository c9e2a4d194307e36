"""JSON as programs read it strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any


def dumps(value: object, *, default: Callable[[Any], object] | None = None) -> str:
    """JSON has no NaN or infinity: a metric that is not defined becomes null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=default)


def escaped(text: str, encoding: str | None) -> str:
    """JSON text, with escapes for all but ASCII if the encoding cannot hold it (or half of a surrogate pair, which a
    file name may hold)."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return json.dumps(json.loads(text))
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
