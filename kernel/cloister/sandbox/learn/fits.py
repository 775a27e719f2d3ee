"""What a learner with steps asks the vault: a ``Fit``, and the model its transcript makes.

The model is computed here from the released integers, by the same program the vault ran; a verifier does the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar, cast

from cloister.plan import algebra as a
from cloister.plan.gaussian import deviation
from cloister.plan.learning import PlannedFit, planned_fit
from cloister.plan.learning.encoding import SCALE
from cloister.plan.learning.program import Model, model
from cloister.plan.learning.queries import Form, GramForm, NearestForm
from cloister.plan.typing import infer
from cloister.sandbox import literals
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask
from cloister.sandbox.doubts import Checked
from cloister.sandbox.learn import expected
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.rounding import near
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class FitAsk(Checked[T]):
    """A question for a model; it has neither measures nor keys."""

    features: tuple[Term, ...] = ()
    target: Term | None = None
    learner: a.Learner = dataclasses.field(default_factory=a.Logistic)

    def plan(self, rho: str) -> a.Fit:
        """Return the plan at a price."""
        wanted = tuple(term.scalar for term in self.features)
        target = None if self.target is None else self.target.scalar
        source, _ = self.rows.asked({}, *wanted, *([] if target is None else [target]))
        return a.Fit(source, wanted, target, self.learner, rho)

    def as_asked(self, plan: Any) -> Any:
        """Return the plan: nothing in it has a name."""
        return plan


_COUNTED: dict[Form, int] = {GramForm(): SCALE * SCALE, NearestForm(1): SCALE}


class Fitted(NamedTuple):
    """A released fit: how its rows were encoded, its model, and the facts of the release."""

    planned: PlannedFit
    model: Model
    fact: Fact
    raw: tuple[int, ...]
    sigmas: tuple[float, ...]

    @property
    def rows(self) -> k.Weight:
        """The noisy number of rows: the first integer of a Gram, or of rows by one centre, is made of it alone."""
        at = 0
        for step, sigma in zip(self.planned.steps, self.sigmas, strict=True):
            unit = _COUNTED.get(step.form)
            if unit is not None:
                error = deviation(sigma) / unit
                return k.Weight("rows", literals.text_of(near(self.raw[at] / unit, error)), repr(error))
            at += step.reach.width
        raise ValueError("a learner of this zone counts its rows")


def ask(
    rows: Rows, features: Sequence[Term], target: Term | None, learner: a.Learner, present: Callable[[Fitted], T]
) -> Ask[T]:
    """Return the question for a model; ``present`` makes of it what is wanted."""

    def presented(answer: Answer) -> T:
        plan = cast(a.Fit, answer.plan)
        planned = planned_fit(plan, infer(plan.source, answer.cards))
        found = model(planned.program, planned.steps, answer.sigmas, answer.raw)
        return present(Fitted(planned, found, answer.fact, answer.raw, answer.sigmas))

    what, expects = expected.fit(learner)
    return FitAsk(
        rows,
        (),
        presented,
        features=tuple(features),
        target=target,
        learner=learner,
        what=what,
        expects=expects,
    )


def weights(names: Sequence[str], values: Sequence[Fraction], errors: Sequence[float]) -> tuple[k.Weight, ...]:
    """Return numbers as a document holds them; errors that are not known are left out."""
    known: Sequence[float | None] = errors or [None] * len(values)
    return tuple(
        k.Weight(name, literals.text_of(value), "" if error is None else repr(error))
        for name, value, error in zip(names, values, known, strict=True)
    )
