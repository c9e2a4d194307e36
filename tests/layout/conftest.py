"""The layout tests share one reader of imports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("layout_imports", Path(__file__).with_name("imports.py"))
assert SPEC is not None
assert SPEC.loader is not None
sys.modules["layout_imports"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sys.modules["layout_imports"])
