"""What had been spent: the brokers' own sums, as they signed them into the charges of the receipts.

A replay knows the accounts only where a receipt touched them. Before its first release an account stands where the
first receipt found it, afterwards where the newest replayed receipt left it; what others spent meanwhile is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec

from cloister.receipt.receipt import Charge, Receipt


class Sums:
    """The sums of every account and limit at one moment of a replay.

    Args:
        receipts: All receipts of the bundle.
        usage: What each of them used of the contract's limits, by release key.
    """

    def __init__(self, receipts: Iterable[Receipt], usage: dict[str, dict[str, int]]) -> None:
        self._accounts: dict[tuple[str, str], Charge] = {}
        self._spent: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
        self._keys: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
        self._used: dict[str, int] = {}
        self._time = ""
        first: dict[tuple[str, str], tuple[Charge, Receipt]] = {}
        for receipt in receipts:
            for charge in receipt.charges:
                account = (charge.broker, charge.population)
                if account not in first or charge.size < first[account][0].size:
                    first[account] = (charge, receipt)
        for account, (charge, receipt) in first.items():
            everyone, mine = _privacy(charge)
            self._spent[account] = (everyone - Fraction(charge.rho), mine - Fraction(charge.rho))
            everyone, mine = _keys(charge)
            self._keys[account] = (everyone - Fraction(charge.delta), mine - Fraction(charge.delta))
            used, own = _used(charge), usage.get(receipt.release, {})
            for name in used:
                before = max(0, used[name] - own.get(name, 0))
                self._used[name] = min(self._used.get(name, before), before)
            self._time = min(filter(None, (self._time, receipt.time)))

    def replayed(self, receipt: Receipt) -> None:
        """Note that a release was replayed; one that is recalled changes nothing."""
        for charge in receipt.charges:
            account = (charge.broker, charge.population)
            known = self._accounts.get(account)
            if known is None or charge.size > known.size:
                self._accounts[account] = charge
                self._spent[account], self._keys[account] = _privacy(charge), _keys(charge)
                self._time = max(self._time, receipt.time)
            for name, value in _used(charge).items():
                self._used[name] = max(self._used.get(name, 0), value)

    def fill(self, untouched: dict[str, Any], brokers: dict[str, str]) -> dict[str, Any]:
        """Return a statement of the budget in which nothing is spent with these sums in it.

        Args:
            untouched: As ``vault.describe.untouched`` makes it.
            brokers: The dids of the brokers by name.
        """
        limits = [self._filled(limit, brokers) for limit in untouched["limits"]]
        return {**untouched, "limits": limits, "time": self._time}

    def _filled(self, limit: dict[str, Any], brokers: dict[str, str]) -> dict[str, Any]:
        if limit["name"] in {"privacy", "delta"}:
            sums = self._spent if limit["name"] == "privacy" else self._keys
            everyone, mine = sums.get((brokers[limit["broker"]], limit["population"]), (0, 0))
            return {**limit, "spent": str(everyone), "analyst_spent": str(mine)}
        return {**limit, "spent": self._used[limit["name"]]} if limit["name"] in self._used else limit


def _privacy(charge: Charge) -> tuple[Fraction, Fraction]:
    """Return what everyone and what the analyst had spent after a charge."""
    return Fraction(charge.spent), Fraction(charge.analyst_spent)


def _keys(charge: Charge) -> tuple[Fraction, Fraction]:
    """Return the same of the delta spent on threshold keys."""
    return Fraction(charge.delta_spent), Fraction(charge.analyst_delta_spent)


def _used(charge: Charge) -> dict[str, int]:
    found: dict[str, int] = msgspec.to_builtins(charge.used)
    return found
