"""What is known of a released value beside its noise: shares limited by storage, and the interval with sampling error.

All of it is computed from the released integers by the pure functions of ``plan``; NaN where it does not apply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cloister.plan import algebra as a
from cloister.plan import companions
from cloister.plan.population import populations
from cloister.plan.shape import quantile_names
from cloister.plan.typing import infer, scalar

if TYPE_CHECKING:
    from cloister.sandbox.answer import Answer


def parts(answer: Answer, name: str) -> dict[str, np.ndarray]:
    """Return what is known of the values of a measure: the largest share of its terms, and population intervals."""
    shaped = answer.shaped.measures
    measure = next(item for item in answer.plan.measures if name in _names(item))
    schema = infer(answer.plan.source, answer.cards)
    nothing = np.full(len(answer.measure(name).values), np.nan)
    found = {f"{kind}{end}": nothing for kind in ("clipped", "capped") for end in ("", "_low", "_high")}
    dated = isinstance(measure, a.Quantile) and scalar(measure.of, schema).kind == "date"
    # A table of dates holds no shares; the notes of the release do.
    for part in () if dated else companions.behind(measure, answer.plan, answer.cards, shaped):
        for end, values in (("", part.values), ("_low", part.low), ("_high", part.high)):
            found[f"{part.kind}{end}"] = np.fmax(found[f"{part.kind}{end}"], np.asarray(values, dtype=float))
    ends = None
    if isinstance(answer.plan, a.VectorSum):
        ends = populations(answer.plan, answer.cards, answer.raw, answer.sigmas, shaped).get(name)
    low, high = (nothing, nothing) if ends is None else (np.asarray(ends.low), np.asarray(ends.high))
    return {**found, "population_low": low, "population_high": high}


def _names(measure: a.Measure) -> tuple[str, ...]:
    return quantile_names(measure) if isinstance(measure, a.Quantile) else (measure.name,)
