"""``release.refine(...)``: the same question again for the price difference, and both answers combined.

The new answer is independent of the earlier ones (its plan has the next ``draw``), so the combined value is as precise
as one release at the whole price, and what was paid before is not lost.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import combine, shape
from cloister.plan.layout import layout
from cloister.sandbox import precision
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.precision import Precision


def refine(fact: Fact, wish: Precision) -> Any:
    """Return what the terminal returned, at the precision wished for the whole value; the difference is charged.

    Args:
        fact: The facts of the release to refine.
        wish: Precision of the combined value, as the terminal takes it.

    Raises:
        PlanError: ``api.refine``: nothing more precise is asked, or the value cannot be refined.
        CloisterError: Any refusal of the vault; nothing was charged unless the error says so.
    """
    if fact.ask is None or not isinstance(fact.plan, a.VectorSum):
        raise PlanError("api.refine", "this value does not come from one question of this kernel", next_step="ask it")
    combine.check_refinable(fact.plan)
    if wish == Precision(n=wish.n):
        raise PlanError(
            "api.refine",
            "how precise shall the whole value be?",
            nearest=("m.release.refine(share=0.04)", "m.release.refine(epsilon=0.5)", "m.release.refine(within=0.1)"),
        )
    session, ask = fact.ask.rows.session, fact.ask
    account = session.tightest(ask.rows.tables)
    whole = Fraction(session.plan_of(ask, wish).rho)
    paid = sum((Fraction(part.plan.rho) for part in fact.parts), Fraction(0))
    if whole <= paid:
        raise PlanError(
            "api.refine",
            f"the value already has the precision of epsilon {account.epsilon_of(paid):.3g}, "
            f"and epsilon {account.epsilon_of(whole):.3g} is asked for the whole of it",
            next_step="ask for a larger epsilon or share, or a smaller within",
        )
    plan = ask.plan(precision.text(whole - paid))
    return ask.present(_combined(session, fact, msgspec.structs.replace(plan, draw=len(fact.parts))))


def _combined(session: Any, fact: Fact, plan: a.VectorSum) -> Answer:
    new = session.ask_plan(fact.ask, plan).fact
    cards, parts = session.about.cards, (*fact.parts, *new.parts)
    raw, sigmas = combine.combine(plan, cards, [part.answered for part in parts])
    rho = fact.rho + new.rho
    account = session.tightest(fact.ask.rows.tables)
    whole = dataclasses.replace(
        new, rho=rho, epsilon=account.epsilon_of(rho), share=account.share_of(rho), parts=parts, paid=new.share
    )
    shaped = shape.shape(plan, cards, raw, sigmas)
    keys = tuple(fact.ask.keys.items())
    return Answer(shaped, layout(plan, cards), whole, keys, tuple(raw), tuple(sigmas), cards)
