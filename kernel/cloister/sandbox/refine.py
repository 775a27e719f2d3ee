"""``release.refine(...)``: the same question again for the price difference, and both answers combined.

The new answer is independent of the earlier ones (its plan has the next ``draw``), so the combined value is as precise
as one release at the whole price, and what was paid before is not lost.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import combine, companions, shape
from cloister.plan.layout import layout
from cloister.plan.precision import RHO_GRID
from cloister.sandbox import precision
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.cost import Cost, check_n
from cloister.sandbox.precision import Charged, Precision
from cloister.sandbox.session import Due, Session


class Refine:
    """``release.refine``: call it to pay the difference, or ``.cost()`` for its price."""

    def __init__(self, fact: Fact) -> None:
        self._fact = fact

    def __call__(self, *, epsilon: Any = None, share: Any = None, within: Any = None, n: Any = None) -> Any:
        """Return the whole answer again, more precise: what it has cost counts, only the difference is charged.

        The question is asked once more at the price difference, and both answers are combined by their inverse
        variances before they are shaped. Works repeatedly; ``receipts`` names all answers a value rests on.

        Args:
            epsilon: Of the whole value, the earlier answers included.
            share: Of the analyst's total, likewise.
            within: Half-width of the 95 % interval of the noise wanted.
            n: Rows you expect, where ``within`` needs them.

        Raises:
            PlanError: ``api.refine``: the value is as precise already, or is no sum.
            CloisterError: Any refusal of the vault; nothing was charged unless the error says so.
        """
        plan = difference(self._fact, Precision(epsilon, share, within, n))
        return self._fact.ask.present(_combined(self._fact.ask.rows.session, self._fact, plan))

    def cost(self, *, epsilon: Any = None, share: Any = None, within: Any = None, n: Any = None) -> Cost:
        """Return what refining would be charged, and the expected errors of the whole value; nothing is spent."""
        plan = difference(self._fact, Precision(epsilon, share, within, n))
        session: Session = self._fact.ask.rows.session
        rows = check_n(n)
        paid = sum((Fraction(part.plan.rho) for part in self._fact.parts), Fraction(plan.rho))
        whole = session.price_plan(self._fact.ask, msgspec.structs.replace(plan, rho=precision.text(paid)), rows)
        return dataclasses.replace(session.price_plan(self._fact.ask, plan, rows), errors=whole.errors)

    def __repr__(self) -> str:
        return "<refine: call it to pay the difference, or .cost() for its price>"


def difference(fact: Fact, wish: Precision) -> a.VectorSum:
    """Return the plan that makes a value as precise as wished, at the price difference.

    Args:
        fact: The facts of the release to refine.
        wish: Precision of the combined value, as the terminal takes it.

    Raises:
        PlanError: ``api.refine``: nothing more precise is asked, or the value cannot be refined.
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
    if wish.within is not None:
        whole = _with_rounding(fact, whole)
    paid = sum((Fraction(part.plan.rho) for part in fact.parts), Fraction(0))
    if whole <= paid:
        raise PlanError(
            "api.refine",
            f"the value already has the precision of epsilon {account.epsilon_of(paid):.3g}, "
            f"and epsilon {account.epsilon_of(whole):.3g} is asked for the whole of it",
            next_step="ask for a larger epsilon or share, or a smaller within",
        )
    plan: a.VectorSum = ask.plan(precision.text(whole - paid))
    return msgspec.structs.replace(plan, draw=len(fact.parts))


def _with_rounding(fact: Fact, whole: Fraction) -> Fraction:
    """Return the price at which the combined noise, and the rounding of what is combined, is that of ``whole`` alone.

    Noise of variance v at ``whole`` has v - 1/12 left (``plan/combine.py``): the price is larger by v / (v - 1/12).
    """
    first = fact.parts[0]
    least = min(Fraction(sigma) for sigma in first.answered.sigmas)
    variance = least**2 * Fraction(first.plan.rho) / whole
    wanted = whole * variance / max(variance - combine.ROUNDING, variance / 4)
    return Fraction(math.ceil(wanted * RHO_GRID), RHO_GRID)


def _combined(session: Any, fact: Fact, plan: a.Plan) -> Answer:
    new = session.ask_plan(fact.ask, plan).fact
    cards, parts = session.about.cards, (*fact.parts, *new.parts)
    raw, sigmas = combine.combine(plan, cards, [part.answered for part in parts])
    paid = [Due(one.population, str(one.rho + two.rho), one.broker) for one, two in _pairs(fact, new)]
    accounts = session.charged(paid)
    whole = dataclasses.replace(
        new,
        rho=fact.rho + new.rho,
        epsilon=max(account.epsilon for account in accounts),
        share=max(account.share for account in accounts),
        accounts=accounts,
        parts=parts,
        paid=new.share,
    )
    shown = fact.ask.as_asked(plan)
    shaped = shape.shape(shown, cards, raw, sigmas)
    whole = dataclasses.replace(whole, notes=companions.notes(shown, cards, shaped))
    keys = tuple(fact.ask.keys.items())
    return Answer(shaped, layout(shown, cards), whole, keys, tuple(raw), tuple(sigmas), cards, plan=shown)


def _pairs(old: Fact, new: Fact) -> Iterator[tuple[Charged, Charged]]:
    """Yield what each account has paid and pays now; one question is always charged to the same accounts."""
    return zip(old.accounts, new.accounts, strict=True)
