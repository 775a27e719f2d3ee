"""Deliver: exact rounded scores, one per unit, sealed to a receiver of the contract.

What lets them out is the contract alone: it names the digest of exactly this plan, and every provider signed it. The
model in the plan is therefore its constants (of a settled release, where it was fitted here): nothing else is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from cloister.attest.encoding import b64
from cloister.contract.exits import DeliverTerms
from cloister.errors import ContractError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.grid import Grid
from cloister.plan.link import Context
from cloister.plan.numbers import text_of
from cloister.plan.typing import Schema, infer, scalar
from cloister.receipt import delivery
from cloister.receipt.receipt import ExitStatement
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.authorise import granted
from cloister.vault.config import Terms
from cloister.vault.engine import Engine
from cloister.vault.keys import derived
from cloister.vault.outside import Allowed, Executed, Outside
from cloister.vault.permits import check_export, check_reads
from cloister.vault.price import Price, deadline_ms, usage
from cloister.vault.relations_sql import Relations
from cloister.vault.scalars_sql import Parameters, wide
from cloister.vault.statuses import exit_error

_ZERO = Fraction(0)
_SCORE = "score of the delivery"
# Packing a row takes an eighth of what drawing the noise of one integer does (0.035 ms).
_ROWS_PER_INTEGER = 8


class Deliver:
    """The way of ``algebra.Deliver``."""

    def allow(self, plan: a.Deliver, context: Context, terms: Terms) -> Allowed:
        """Return what the contract allows: exactly this plan, to this receiver.

        Raises:
            ContractError: ``exit.deliver``, ``exit.receiver``, or a tier, grade or table outside the contract.
            PlanError: ``plan.units``, ``plan.score``, ``plan.size``, or the plan does not type-check.
        """
        clause = _clause(plan, terms)
        probe = _probe(plan)
        grant = granted(probe, context, terms, "deliver", delivery=codec.exit_digest(plan))
        schema = infer(plan.source, grant.cards)
        delivery.check_scores(schema.rows, score_grid(plan, schema).points, schema.limit)
        analysis = analyse(probe, grant.cards, terms.account_keys(grant.scanned))
        grant = check_export(analysis.uses, check_reads(analysis.uses, grant, context, terms), context, terms)
        rows = schema.limit // _ROWS_PER_INTEGER
        work = analysis.cost
        cost = msgspec.structs.replace(work, sorted_rows=work.sorted_rows + schema.limit, integers=work.integers + rows)
        planned = deadline_ms(cost)
        return Allowed(grant, clause, analysis, Price(_ZERO, _ZERO, (), 0, planned, usage(analysis, planned)))

    def targets(self, _plan: a.Deliver, _terms: Terms, _secret: bytes) -> tuple[str, ...]:
        """Return nothing: a delivery is about every unit of its source."""
        return ()

    def execute(self, engine: Engine, terms: Terms, asked: Outside) -> Executed:
        """Return the sealed scores.

        Raises:
            FaultError: They could not be computed.
        """
        plan = asked.plan
        assert isinstance(plan, a.Deliver)  # noqa: S101 (only ``exits.way_of`` chooses)
        schema = asked.analysis.typed.schema
        grid = schema.grid(_SCORE)
        header = _header(plan, asked, terms, schema, grid)
        rows = [
            (unit.to_bytes(16, "big"), delivery.NULL if code is None else code - grid.lo)
            for unit, code in engine.rows(lambda tables: _compile(asked.analysis, tables))
        ]
        key = derived(asked.secret, "cloister/delivery-key/v1", asked.charge_id)
        content = delivery.seal_content(rows, header, key)
        statement = ExitStatement(
            name="deliver",
            clause=asked.leaves.clause,
            receiver=plan.receiver,
            file=delivery.file_digest(header, content),
            size=len(content),
            key=delivery.seal_key(key, header),
        )

        def result(stands: ExitStatement) -> dict[str, Any]:
            sealed = msgspec.structs.replace(header, key=stands.key)
            return {"header": msgspec.to_builtins(sealed), "content": b64(content)}

        return Executed(statement, result)


DELIVER = Deliver()


def score_grid(plan: a.Deliver, schema: Schema) -> Grid:
    """Return the grid of the rounded score."""
    return scalar(a.Round(plan.score, plan.step, "even"), schema)


def _clause(plan: a.Deliver, terms: Terms) -> int:
    """Return the position of the clause that approves the plan."""
    outside, digest = terms.contract.outside, codec.exit_digest(plan)
    if outside.deliveries and outside.receiver(plan.receiver) is None:
        raise ContractError(
            "exit.receiver",
            f"the contract names no receiver {plan.receiver[:60]!r}",
            clause="exits.receivers",
            nearest=tuple(receiver.name for receiver in outside.receivers),
            next_step="Deliver to a receiver of the contract; another one needs a new contract.",
        )
    for place, approved in enumerate(outside.deliveries):
        if _approves(approved, plan, digest):
            return place
    error = exit_error("deliver")
    raise ContractError(
        error.code,
        f"the providers have not approved this plan ({digest})",
        clause="exits.deliveries: only a plan whose digest every provider signed is delivered",
        next_step="Send the proposal (the plan and its digest) to the providers, for a clause of a new contract.",
    )


def _approves(approved: DeliverTerms, plan: a.Deliver, digest: str) -> bool:
    return approved.plan == digest and approved.receiver == plan.receiver


def _probe(plan: a.Deliver) -> a.VectorSum:
    """Return a question about the same rows and the same score: typed, authorised and costed like any other."""
    rounded = a.Derive(plan.source, ((_SCORE, a.Round(plan.score, plan.step, "even")),))
    return a.VectorSum(rounded, (a.Sum(_SCORE, a.Col(_SCORE)),), "1")


def _header(plan: a.Deliver, asked: Outside, terms: Terms, schema: Schema, grid: Grid) -> delivery.Header:
    receiver = terms.contract.outside.receiver(plan.receiver)
    if receiver is None:
        raise exit_error("deliver")
    return delivery.Header(
        mode=terms.mode,
        contract=terms.digest,
        plan=codec.exit_digest(plan),
        receiver=receiver.name,
        to=receiver.key,
        charge_id=asked.charge_id,
        unit=schema.unit.name,
        kinds=schema.unit.key,
        normaliser=schema.unit.normaliser,
        low=text_of(grid.lo * grid.step),
        step=text_of(grid.step),
        points=grid.points,
        capacity=schema.limit,
        hashed=schema.unit.hashed or msgspec.UNSET,
    )


def _compile(analysis: Analysis, tables: Mapping[str, str]) -> tuple[str, dict[str, int | str]]:
    """Return the query of unit and score, in the order of units. Identifiers are generated, literals are bound."""
    bind = Parameters()
    source = Relations(analysis.cards, tables, bind).source(analysis.typed)
    sql = f"SELECT unit, {wide(source.scope[_SCORE])} FROM ({source.sql}) ORDER BY unit"  # noqa: S608
    return sql, bind.used(sql)
