"""``from cloister.learn.metrics import roc_auc``: evaluation as charged releases, loaded on first use."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(importlib.import_module("cloister.sandbox.learn.metrics"), name)


def __dir__() -> list[str]:
    return list(importlib.import_module("cloister.sandbox.learn.metrics").__all__)
