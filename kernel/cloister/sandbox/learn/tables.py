"""Figures as lines of a table, and the table as a release."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from cloister.sandbox.answer import Fact
from cloister.sandbox.release import Release

PARTS = ("value", "stderr", "low", "high", "unreliable")


def line(figure: Any) -> dict[str, Any]:
    """Return a released figure as a line of a table."""
    return {name: getattr(figure.release, name) for name in PARTS}


def population(figure: Any) -> dict[str, float]:
    """Return the ends of a figure's interval for the population (noise and sampling), NaN where it is not known."""
    return {name: figure.release.more.get(name, math.nan) for name in ("population_low", "population_high")}


def table(lines: dict[str, dict[str, Any]], index: str) -> pd.DataFrame:
    """Return lines as a table."""
    return pd.DataFrame.from_dict(lines, orient="index").astype({"unreliable": bool}).rename_axis(index)


def release_of(found: pd.DataFrame, fact: Fact, derived: str) -> Release:
    """Return the release that a table of figures shows."""
    return Release(
        value=found["value"],
        stderr=found["stderr"],
        low=found["low"],
        high=found["high"],
        unreliable=found["unreliable"],
        fact=fact,
        derived=derived,
    )
