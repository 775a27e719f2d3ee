"""Several independent answers to one question, combined: what ``refine`` shows and a verifier computes again.

Answers to the same plan at other prices (``draw`` tells them apart) have independent noise on the same exact integers.
Weighted by their inverse variance they make the best unbiased answer, which costs the sum of their prices. The raw
integers are combined and then shaped, so ratios, bounds and intervals are those of one release. Pure; weights are
exact fractions of the sigmas, and the combined integers are rounded to even. That rounding moves a value by at most
half a step, and counts as noise with the variance of a uniform one, 1/12.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import islice, product

import msgspec

from cloister.contract.card import Card
from cloister.errors import MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan.layout import layout

MAX_CHAINS = 64
ROUNDING = Fraction(1, 12)
"""The variance of rounding a combined integer, in squared steps."""


class Answered(msgspec.Struct, frozen=True):
    """The raw integers of one answer in layout order, and the noise scale of each component."""

    raw: tuple[int, ...]
    sigmas: tuple[float, ...]


def family(plan: a.Plan) -> a.Plan:
    """Return the question without its price and draw: equal for plans whose answers may be combined."""
    return msgspec.structs.replace(plan, rho="1", draw=0)


def refinable(plan: a.Plan) -> bool:
    """Return whether all a plan releases are sums: those add up with other answers, what was chosen or fitted not."""
    return isinstance(plan, a.VectorSum) and not any(isinstance(measure, a.Quantile) for measure in plan.measures)


def check_refinable(plan: a.Plan) -> None:
    """Refuse a plan whose answers are no sums.

    Raises:
        PlanError: ``api.refine``.
    """
    if not refinable(plan):
        raise PlanError(
            "api.refine",
            "only sums can be refined: a quantile or a set of keys is chosen, not added up",
            next_step="ask the question again at the higher price",
        )


def combine(
    plan: a.Plan, cards: Mapping[str, Card], answers: Sequence[Answered]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return raw integers and sigmas of the combined answer.

    Args:
        plan: Any of the plans answered.
        cards: Data cards by table name.
        answers: One or more answers to this question.

    Raises:
        PlanError: ``api.refine``: the plan's answers cannot be combined.
        MalformedError: ``release.shape``: an answer does not have the plan's shape.
    """
    if len(answers) == 1:
        return answers[0].raw, answers[0].sigmas
    check_refinable(plan)
    frame = layout(plan, cards)
    sizes = (frame.cells * frame.width, len(frame.components))
    if not answers or any((len(one.raw), len(one.sigmas)) != sizes for one in answers):
        raise MalformedError("release.shape", "an answer does not have the shape the plan implies")
    raw = [0] * sizes[0]
    sigmas, start = [], 0
    for index, part in enumerate(frame.components):
        weights = [1 / Fraction(one.sigmas[index]) ** 2 for one in answers]
        whole = sum(weights, Fraction(0))
        for place in range(start, start + part.width):
            for at in range(place, sizes[0], frame.width):
                total = sum((w * one.raw[at] for w, one in zip(weights, answers, strict=True)), Fraction(0))
                raw[at] = round(total / whole)
        sigmas.append(math.sqrt(1 / whole + ROUNDING))
        start += part.width
    return tuple(raw), tuple(sigmas)


def chains(plans: Mapping[str, a.Plan]) -> Iterable[tuple[str, ...]]:
    """Return what a refined value can rest on: of one question, one answer of each draw from 0 up, two or more.

    Plans whose answers cannot be combined are in none.

    Args:
        plans: Plans by any name (the digest of a receipt).
    """
    families: dict[str, dict[int, list[str]]] = {}
    for name, plan in plans.items():
        if not refinable(plan):
            continue
        # Texts, because a tree of structs is not always hashable.
        key = msgspec.json.encode(family(plan)).decode()
        families.setdefault(key, {}).setdefault(plan.draw, []).append(name)
    for draws in families.values():
        depth = next(number for number in range(len(draws) + 1) if number not in draws)
        for length in range(2, depth + 1):
            yield from islice(product(*(draws[number] for number in range(length))), MAX_CHAINS)
