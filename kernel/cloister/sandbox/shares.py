"""Shares of released counts, with errors: what ``normalize=`` computes from a release, at no further price.

Shares are made of the counts as they are shown, so they add up to 1. Errors are by the delta method for
``c / sum(c)`` with independent noise of one size in every cell.
"""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from cloister.sandbox import release

NORMAL_95 = 1.959964
NOTE = "shares of the released counts; errors by the delta method"


def of_all(counts: Any, name: str = "proportion") -> Any:
    """Return each count as a share of their sum."""
    found = counts.release
    total = max(float(found.value.to_numpy(dtype=float).sum()), 1.0)
    share, error = _shares(found.value.astype(float), found.stderr, total, found.value.size)
    return _bound(share.rename(name) if isinstance(share, pd.Series) else share, error, found)


def along(counts: Any, axis: Literal["index", "columns"]) -> Any:
    """Return each count as a share of its row (``index``) or its column (``columns``)."""
    found = counts.release
    value, noise = found.value.astype(float), found.stderr
    if axis == "columns":
        value, noise = value.T, noise.T
    total = value.sum(axis=1).clip(lower=1.0)
    share = value.div(total, axis=0)
    spread = ((1 - share) ** 2 + share**2 * (value.shape[1] - 1)) ** 0.5
    error = (noise * spread).div(total, axis=0)
    if axis == "columns":
        return _bound(share.T, error.T, found)
    return _bound(share, error, found)


def _shares(value: Any, noise: Any, total: float, cells: int) -> tuple[Any, Any]:
    share = value / total
    return share, noise * ((1 - share) ** 2 + share**2 * (cells - 1)) ** 0.5 / total


def _bound(share: Any, error: Any, found: release.Release) -> Any:
    parts = {
        "value": share,
        "stderr": error,
        "low": (share - NORMAL_95 * error).clip(0, 1),
        "high": (share + NORMAL_95 * error).clip(0, 1),
        "unreliable": found.unreliable,
    }
    return release.bind(parts, found.fact, NOTE)
