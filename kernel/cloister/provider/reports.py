"""What each account of a broker amounts to, reported more tightly than it is promised (``cloister account report``).

Read from the account's entries. A report that no gate reads: see ``plan/tighter.py``.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import tighter
from cloister.provider.home import BrokerHome
from cloister.receipt import sums
from cloister.receipt.ledger import Entry

USUAL_DELTA = Fraction(1, 10**6)


class AccountReport(msgspec.Struct, frozen=True):
    """An account's charges, the delta it is reported at, and both epsilons there.

    ``exits`` are entries without noise: no epsilon says anything about them.
    """

    releases: int
    delta: Fraction
    report: tighter.Report
    exits: int = 0


def reports(home: BrokerHome, delta: Fraction | None = None) -> dict[str, AccountReport]:
    """Return the report of every account, by population.

    Args:
        home: The broker's directory.
        delta: Report at this delta; without it at the smallest of the broker's contracts over the population.

    Raises:
        PlanError: Keys have spent all of the delta.
        UnavailableError: ``ledger.unavailable``.
    """
    ledger = home.open_accounts()
    try:
        entries = {name: ledger.entries(name) for name in ledger.populations()}
    finally:
        ledger.close()
    found = {}
    for name, bodies in entries.items():
        at = delta or _delta(home, name)
        charges = [msgspec.json.decode(body, type=Entry) for body in bodies]
        try:
            exits = sum(entry.exits is not None for entry in charges)
            found[name] = AccountReport(len(charges) - exits, at, tighter.report(spent(charges), at), exits)
        except PlanError as error:
            raise PlanError(error.code, f"{name}: {error.reason}", next_step=error.next_step) from error
    return found


def spent(charges: list[Entry]) -> tighter.Spent:
    """Return the sums of an account's entries."""
    rho = maxima = delta = Fraction(0)
    for entry in charges:
        rho, delta = rho + sums.parse(entry.rho), delta + sums.parse(entry.delta)
        maxima += Fraction(0) if isinstance(entry.maxima, msgspec.UnsetType) else sums.parse(entry.maxima)
    return tighter.Spent(rho, maxima, delta)


def _delta(home: BrokerHome, population: str) -> Fraction:
    did = home.identity().did
    stated = []
    for digest in home.contracts.digests():
        known = home.contracts.get(digest)
        if known is None:
            continue
        names = {broker.name for broker in known.contract.brokers if broker.did == did}
        budgets = known.contract.budgets
        stated += [Fraction(b.delta) for b in budgets if b.population == population and b.broker in names]
    return min(stated, default=USUAL_DELTA)
