"""Usage: what releases consume of a contract beside privacy, and whether the contract still holds it.

Usage is planned, never measured: it follows from plan, data cards and policy alone, so a limit that is reached says
nothing about the data (G4, G7), a retry uses what was booked before, and broker and vault compute the same sums.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cloister.contract.terms import Limits

MAX_COUNT = 2**53
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one release uses.

    ``rows`` is the sum of the declared size classes of the tables scanned, ``compute`` the planned reply time in units
    of 100 ms, ``models`` is 1 for the operation *model*.
    """

    rows: _Count
    compute: _Count
    models: _Count


class Used(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all releases of a contract used together, as one broker counts them."""

    releases: _Count = 0
    rows: _Count = 0
    compute: _Count = 0
    models: _Count = 0

    def plus(self, usage: Usage) -> Used:
        """Return the sums after one more release."""
        return Used(self.releases + 1, self.rows + usage.rows, self.compute + usage.compute, self.models + usage.models)

    def covers(self, other: Used) -> bool:
        """Whether every sum is at least that of ``other``."""
        return all(mine >= theirs for mine, theirs in zip(_counts(self), _counts(other), strict=True))


def exceeded(used: Used, limits: Limits) -> str:
    """Return the name of the first limit that ``used`` is beyond, or ``""``."""
    for name in Used.__struct_fields__:
        if getattr(used, name) > getattr(limits, name):
            return name
    return ""


def largest(counts: list[Used]) -> Used:
    """Return the largest of each sum: what the broker that counted most has seen."""
    return Used(*(max(column) for column in zip(*map(_counts, counts), strict=True))) if counts else Used()


def _counts(used: Used) -> tuple[int, ...]:
    return msgspec.structs.astuple(used)
