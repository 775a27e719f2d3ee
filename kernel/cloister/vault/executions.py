"""What a vault process remembers of the exits it executed.

How long an execution takes may depend on data, so the same exit is not executed again for the asking: the answers of
a match are kept, and whatever is executed a second time all the same counts as any late answer does (``faults.py``).
"""

from __future__ import annotations

from collections import OrderedDict

from cloister.vault.outside import Executed

MAX_KEPT = 1 << 22


class Executions:
    """Which charges were executed, and the latest answers of matches: at most ``capacity`` targets of them."""

    def __init__(self, capacity: int = MAX_KEPT) -> None:
        # The contract limits how many charges there are, so this set is bounded.
        self._begun: set[str] = set()
        self._kept: OrderedDict[str, Executed] = OrderedDict()
        self._targets = 0
        self._capacity = capacity

    def begin(self, charge_id: str) -> bool:
        """Note that a charge is executed; return whether it is for the first time."""
        first = charge_id not in self._begun
        self._begun.add(charge_id)
        return first

    def get(self, charge_id: str) -> Executed | None:
        """Return what the charge gave, if it is still known."""
        return self._kept.get(charge_id)

    def keep(self, charge_id: str, executed: Executed) -> None:
        """Remember what a charge gave; the oldest is forgotten for it."""
        if charge_id in self._kept:
            return
        self._kept[charge_id] = executed
        self._targets += executed.statement.targets
        while self._targets > self._capacity:
            _, oldest = self._kept.popitem(last=False)
            self._targets -= oldest.statement.targets
