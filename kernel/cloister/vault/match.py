"""Match: for each unit key the asker has, whether a declared match column holds. No noise, no predicate.

What lets it out is a clause for exactly this table and column. What is special about it:

* The plan is about persons, so no provider may read it: the commitment, the tags targets are booked by and the key of
  the deposit take the data keys of *all* tables of the contract, whichever is asked.
* The answers are in no receipt. They are exact, and the vault keeps them: a repetition is free and looks nothing up.
  What it has forgotten (after a restart) is looked up again: same data, same answers.
* The first answer, if it is late, leaves 1, 2, 4, ... or 64 times ``GRACE_S`` after the planned time and is not counted
  with those of releases. When it leaves tells at most 3 bits, about the machine or the table; the contract limits how
  many matches there are. A later one that is late is counted like a release.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from cloister.contract.unit_keys import is_hashed, plain_keys
from cloister.plan import algebra as a
from cloister.plan.link import Context
from cloister.receipt.receipt import ExitStatement
from cloister.vault.analyse import analyse
from cloister.vault.authorise import granted
from cloister.vault.config import Terms
from cloister.vault.engine import Engine
from cloister.vault.keys import derived
from cloister.vault.lookup import condition, lookup_ms
from cloister.vault.outside import Allowed, Executed, Outside
from cloister.vault.permits import permitted
from cloister.vault.price import COMPUTE_MS, Price, usage
from cloister.vault.statuses import exit_error
from cloister.vault.targets import targets

GRACE_S = 0.1
_TAGS = "cloister/match-tags/v1"


class Match:
    """The way of ``algebra.Match``."""

    def allow(self, plan: a.Match, context: Context, terms: Terms) -> Allowed:
        """Return what the contract allows: the clause for exactly this table and column.

        Raises:
            ContractError: ``exit.match``, or the table's grade is outside the contract.
            PlanError: ``plan.cost``; ``match.hashed``: plain keys, and the table has hashed ones.
        """
        clause = _clause(plan, terms)
        if terms.cards[plan.table].salt_id and not all(map(is_hashed, plan.targets)):
            raise plain_keys(plan.table)
        probe = a.VectorSum(a.Table(plan.table), (a.Units("units"),), "1")
        grant = granted(probe, context, terms, "match")._replace(keyed_by=tuple(sorted(terms.tables)))
        grant = permitted([(plan.table, plan.column)], grant, context, terms)
        analysis = analyse(probe, grant.cards, terms.account_keys(grant.scanned))
        card = grant.cards[plan.table]
        planned = lookup_ms(len(plan.targets), card.row_limit, card.rows_per_unit)
        used = msgspec.structs.replace(usage(analysis, planned), compute=-(-planned // COMPUTE_MS))
        price = Price(Fraction(0), Fraction(0), (), 0, planned, used)
        return Allowed(grant, clause, analysis, price, grace_s=GRACE_S, counts_late=False)

    def targets(self, plan: a.Match, terms: Terms, secret: bytes) -> tuple[str, ...]:
        """Return the tag of each target, as often as it is asked about."""
        asked = targets(terms.cards[plan.table], plan.targets, terms.digest.encode())
        return asked.tags(derived(secret, _TAGS))

    def execute(self, engine: Engine, terms: Terms, asked: Outside) -> Executed:
        """Return one letter for each target, ``1`` for a match, whatever there is.

        Raises:
            FaultError: They could not be looked up.
        """
        plan = asked.plan
        assert isinstance(plan, a.Match)  # noqa: S101 (only ``exits.way_of`` chooses)
        card = terms.cards[plan.table]
        holds = condition(card, terms.contract.outside.matches[asked.leaves.clause])
        found = engine.found(plan.table, holds, targets(card, plan.targets, terms.digest.encode()))
        answers = "".join("1" if one else "0" for one in found)
        statement = ExitStatement("match", asked.leaves.clause, targets=len(plan.targets))
        return Executed(statement, lambda _stands: {"answers": answers})


MATCH = Match()


def _clause(plan: a.Match, terms: Terms) -> int:
    for place, allowed in enumerate(terms.contract.outside.matches):
        if (allowed.table, allowed.column) == (plan.table, plan.column):
            return place
    raise exit_error("match")
