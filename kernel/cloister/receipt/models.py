"""The model of a fit's receipt: computed again from the transcript it states, by anybody, without data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloister.contract.card import Card
from cloister.errors import CloisterError, TrustError
from cloister.plan import algebra, codec
from cloister.plan.learning import PlannedFit, planned_fit
from cloister.plan.learning.natural import numbers
from cloister.plan.learning.program import Model, model
from cloister.plan.typing import infer
from cloister.receipt.receipt import Receipt


def model_of(receipt: Receipt, cards: Mapping[str, Card]) -> tuple[PlannedFit, Model] | None:
    """Return what was fitted and the model; None if the receipt is of no fit.

    The receipt's values have passed ``facts.shaped``.

    Raises:
        TrustError: ``receipt.shape``: plan, cards, values and noise of the receipt do not fit together.
    """
    if receipt.exits is not None:
        return None
    try:
        plan = codec.decode(receipt.plan)
        if not isinstance(plan, algebra.Fit):
            return None
        fitted = planned_fit(plan, infer(plan.source, cards))
        noise = [float.fromhex(part.sigma) for part in receipt.noise]
        return fitted, model(fitted.program, fitted.steps, noise, [int(text) for text in receipt.raw])
    except (CloisterError, ValueError, ArithmeticError) as error:
        raise TrustError("receipt.shape", "the receipt's values do not make the model its plan says") from error


def model_numbers(receipt: Receipt, cards: Mapping[str, Card]) -> Iterator[float]:
    """Yield the numbers of a receipt's model: post-processing that a notebook may show.

    Raises:
        TrustError: As ``model_of``.
    """
    found = model_of(receipt, cards)
    if found is not None:
        yield from numbers(found[1], found[0].coded)
