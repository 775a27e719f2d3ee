"""The contract's limits, kept by the vault itself beside the broker.

The broker refuses what is beyond a limit in the transaction that charges. A broker that does not (a defect, an old
version, a provider of his own mind) still gets no release through:

1. What one release alone takes beyond the contract is refused before any broker is asked.
2. After a charge, every sum and the time the broker signed must be within the contract, or nothing is run.
3. The sums never shrink, and are at least what this vault has had booked (``ledger.py``).

A charge that was booked within the limits stays within them, so a retry passes; a settled release is recalled before
step 2 is reached, and memory answers before step 1. A settled exit is executed again, so it is recalled after step 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from cloister.contract.exits import MatchTerms
from cloister.contract.usage import Usage, Used, exceeded
from cloister.receipt.ledger import ExitEntry, LedgerReply
from cloister.vault.authorise import check_time
from cloister.vault.config import Account, Terms
from cloister.vault.statuses import analyst_error, budget_error, delta_error, limit_error, match_error, sent_error

# Room for requests that a broker refuses or that are lost on the way.
SENT_TIMES = 4


def check_alone(usage: Usage, terms: Terms) -> None:
    """Refuse a release that is beyond the contract even as its first one. Nothing is charged.

    Raises:
        BudgetError: ``limit.releases``, ``limit.rows``, ``limit.compute``, ``limit.models``.
    """
    limits = terms.contract.limits
    if name := exceeded(Used().plus(usage), limits):
        raise limit_error(name, limits, Used())


def check_charged(reply: LedgerReply, account: Account, terms: Terms, analyst: str) -> None:
    """Refuse to run what a broker has charged beyond the contract, or after its end.

    Raises:
        BudgetError: ``budget.exhausted``, ``limit.*``.
        ContractError: ``contract.expired``, ``contract.not-yet-valid``.
    """
    check_time(terms, reply.time)
    limits, population = terms.contract.limits, account.budget.population
    if name := exceeded(reply.used, limits):
        raise limit_error(name, limits, reply.used)
    total, mine = terms.rho_limits(account, analyst)
    if (spent := Fraction(reply.spent)) > total:
        raise budget_error(population, spent, total)
    if (spent := Fraction(reply.analyst_spent)) > mine:
        raise analyst_error(population, spent, mine)


def check_match_status(reply: LedgerReply, leaves: ExitEntry | msgspec.UnsetType, terms: Terms) -> None:
    """Refuse what a broker refuses to count under the clause of a match.

    Raises:
        BudgetError: ``limit.match``, ``limit.target``.
    """
    for _, clause in _match_clause(leaves, terms):
        if reply.status in {"limit.match", "limit.target"}:
            raise match_error(reply.status, clause)


def check_matched(reply: LedgerReply, leaves: ExitEntry | msgspec.UnsetType, terms: Terms) -> None:
    """Refuse to look up what a broker has counted beyond the clause of a match.

    Raises:
        BudgetError: ``limit.match``, ``limit.target``.
    """
    for place, clause in _match_clause(leaves, terms):
        for counted in (one for one in reply.matches if one.clause == place):
            if counted.targets > clause.per_contract:
                raise match_error("limit.match", clause)
            if counted.most > clause.per_target:
                raise match_error("limit.target", clause)


def _match_clause(leaves: ExitEntry | msgspec.UnsetType, terms: Terms) -> Iterator[tuple[int, MatchTerms]]:
    """Yield the clause an entry is booked under and its place, if it is an entry of a match."""
    if isinstance(leaves, ExitEntry) and leaves.name == "match":
        yield leaves.clause, terms.contract.outside.matches[leaves.clause]


class SentTargets:
    """How many targets this process has named to a broker, by clause, booked or not.

    The tags go out before anything is booked. A broker (or the host before it) that drops the requests of an analyst it
    is in league with would learn the tags of his guesses for nothing, so not only what is booked is limited.
    """

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}
        self._charges: set[str] = set()

    def note(self, charge_id: str, leaves: ExitEntry, terms: Terms) -> None:
        """Count a match that is about to be sent; one that was sent before says nothing new.

        Raises:
            BudgetError: ``limit.match``: more than ``SENT_TIMES`` times what the clause allows; nothing is sent.
        """
        for place, clause in _match_clause(leaves, terms):
            if charge_id in self._charges:
                return
            sent = self._sent.get(place, 0) + len(leaves.targets)
            if sent > (most := SENT_TIMES * clause.per_contract):
                raise sent_error(most, clause)
            self._sent[place] = sent
            self._charges.add(charge_id)


def check_delta(reply: LedgerReply, account: Account, terms: Terms, analyst: str) -> None:
    """Refuse to run what spends delta beyond the contract's delta for keys.

    Raises:
        BudgetError: ``budget.delta``.
    """
    population = account.budget.population
    sums, limit = reply.deltas, terms.delta_limits(account, analyst)
    for text, most in zip((sums.spent, sums.analyst_spent), limit, strict=True):
        if (spent := Fraction(text)) > most:
            raise delta_error(population, spent, most)
