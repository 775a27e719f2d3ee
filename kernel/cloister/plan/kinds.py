"""Kinds of values: what serves as a number, and the refusal when a value is of the wrong kind."""

from __future__ import annotations

import msgspec

from cloister.errors import PlanError
from cloister.plan.grid import Grid


def as_number(grid: Grid, what: str) -> Grid:
    """Return ``grid`` as numbers (True counts 1, False 0), or refuse."""
    if grid.kind == "number":
        return grid
    if grid.kind == "bool":
        return msgspec.structs.replace(grid, kind="number")
    raise mismatch(what, "a number", grid)


def mismatch(what: str, wanted: str, got: Grid) -> PlanError:
    """Return the refusal of a value that is not of the kind wanted."""
    if got.kind == "opaque":
        names = ", ".join(sorted(column for _, column in got.uses))
        return PlanError(
            "plan.opaque",
            f"column {names} can identify a unit, and nothing else: it has no declared bounds or domain",
            clause="the data card declares no bounds (number, date) or domain (text) for it",
            next_step="use a column with declared bounds or domain, or ask the provider to declare them",
        )
    return PlanError(
        "plan.types",
        f"{what} needs {wanted}, not a {got.kind}",
        next_step="compare, cut or subtract to get the kind of value that is needed",
    )
