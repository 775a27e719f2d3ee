"""The model of a fit's receipt: computed again from the transcript it states, by anybody, without data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from cloister.contract.card import Card
from cloister.errors import CloisterError, TrustError
from cloister.plan import algebra, codec
from cloister.plan.learning import PlannedFit, planned_fit
from cloister.plan.learning.natural import numbers, scores
from cloister.plan.learning.program import Linear, Model, model
from cloister.plan.rounding import short
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


def model_numbers(receipt: Receipt, cards: Mapping[str, Card]) -> tuple[float, ...]:
    """Return the numbers of a receipt's model, in a fixed order: post-processing that a notebook may show.

    Beside the exact ones there are the weights as the notebook rounds them.

    Raises:
        TrustError: As ``model_of``.
    """
    return _numbers(msgspec.json.encode(receipt), msgspec.json.encode(cards))


@lru_cache(maxsize=16)
def _numbers(receipt: bytes, cards: bytes) -> tuple[float, ...]:
    """Return ``model_numbers``; a model of many steps takes a while, and verification and replay ask for it twice."""
    found = model_of(msgspec.json.decode(receipt, type=Receipt), msgspec.json.decode(cards, type=dict[str, Card]))
    if found is None:
        return ()
    fitted, made = found
    try:
        rounded = short(scores(made, fitted.coded), fitted.coded) if isinstance(made, Linear) else []
        return (*numbers(made, fitted.coded), *(float(value) for row in rounded for value in row))
    except (ValueError, ArithmeticError) as error:
        raise TrustError("receipt.shape", "the receipt's values make no model with numbers") from error
