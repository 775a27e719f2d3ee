"""Cloister: confidential analytics that lives in Jupyter.

In a notebook, ``import cloister as cl`` gives the analyst's vocabulary (``cl.table``, ``cl.budget``, ...). It is
loaded on first use from ``cloister.sandbox``, so that other zones never carry it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_ANALYST_API = (
    "CloisterError",
    "align",
    "budget",
    "case",
    "concat",
    "contract",
    "crosstab",
    "cut",
    "gram",
    "match",
    "match_report",
    "parse",
    "ratio",
    "recode",
    "rehearsal",
    "split",
    "sql",
    "stats",
    "table",
    "tables",
    "train_test_split",
    "where",
)
__all__ = ["__version__", *_ANALYST_API]  # noqa: PLE0604 (names are resolved lazily)


def __getattr__(name: str) -> Any:
    if name in _ANALYST_API:
        return getattr(importlib.import_module("cloister.sandbox"), name)
    raise AttributeError(f"module 'cloister' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _ContractPackage(ModuleType):
    """``cloister.contract`` is a package, and ``cl.contract()`` a function: one name that is both."""

    def __call__(self) -> Any:
        return importlib.import_module("cloister.sandbox").contract()


class _Root(ModuleType):
    """The package itself; it notices when the import system hangs ``cloister.contract`` into it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "contract" and type(value) is ModuleType:
            value.__class__ = _ContractPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root
