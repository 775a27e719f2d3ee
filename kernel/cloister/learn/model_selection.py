"""``from cloister.learn.model_selection import cross_validate``: splits, folds and search, loaded on first use."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(importlib.import_module("cloister.sandbox.learn.model_selection"), name)


def __dir__() -> list[str]:
    return list(importlib.import_module("cloister.sandbox.learn.model_selection").__all__)
