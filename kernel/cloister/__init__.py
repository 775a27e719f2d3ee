"""Cloister: confidential analytics that lives in Jupyter.

In a notebook, ``import cloister as cl`` gives the analyst's vocabulary (``cl.table``, ``cl.budget``, ...). It is
loaded on first use from ``cloister.sandbox``, so that other zones never carry it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ANALYST_API = ("table", "tables", "contract", "budget", "CloisterError")
__all__ = ["__version__", *_ANALYST_API]  # noqa: PLE0604 (names are resolved lazily)


def __getattr__(name: str) -> Any:
    if name in _ANALYST_API:
        return getattr(importlib.import_module("cloister.sandbox"), name)
    raise AttributeError(f"module 'cloister' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
