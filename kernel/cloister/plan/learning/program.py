"""Programs: what a learner asks, step by step, and the model its noisy answers make. Pure and deterministic.

A learner is a sequence of vector sums inside one charge. Before anything runs, ``steps`` says of every step its form
(so its width and reach) and its part of the price: this is what is analysed, priced and charged. ``run`` is a
generator: it yields the query of a step, is sent that step's noisy integers, and returns the model after the last one.
It may depend on learner, encoding, noise levels and what it was sent, and on nothing else. The vault runs it with the
rows; notebook, reviewer and replay run it with the *transcript*, the noisy integers of a receipt, and get the same
model.

Deterministic everywhere: integers, ``Fraction``, or floats with ``+ - * / sqrt`` in a fixed order (IEEE 754 rounds
these correctly); no ``sum`` of floats, no ``exp`` or ``log`` of a C library, no BLAS, no set order.
Total: whatever integers it is sent, a program yields queries within their limits and returns a model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Protocol

import msgspec

from cloister.errors import MalformedError, PlanError
from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.queries import Form, Query, Reach, reach

MAX_STEPS = 512
MAX_TRANSCRIPT = 200_000


class Step(msgspec.Struct, frozen=True):
    """A planned step: its name (``gram``, ``gradient 3``), what kind of sum it is, and its part of the price."""

    name: str
    form: Form
    share: Fraction


class Linear(msgspec.Struct, frozen=True, tag_field="kind", tag="linear"):
    """Scores ``w z``: for each output one weight per column, in multiples of 1 / ``scale``.

    One output: the score of the second class against the first (its log odds). More: a score for each class. A column
    is worth 1 at its largest (a label that occurs, a number at its upper bound). ``errors`` are standard errors of the
    weights from the noise, in the unit of the weights as numbers; empty if they are not known.
    """

    weights: tuple[tuple[int, ...], ...]
    scale: int
    errors: tuple[tuple[float, ...], ...] = ()


class Centres(msgspec.Struct, frozen=True, tag_field="kind", tag="centres"):
    """Centres: for each one integer per column but the first, in multiples of 1 / ``SCALE``; noisy sizes in rows."""

    centres: tuple[tuple[int, ...], ...]
    sizes: tuple[float, ...]


Model = Linear | Centres
Run = Generator[Query, Sequence[int], Model]


class Program(Protocol):
    """What a learner does on rows of an encoding."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The planned steps; the shares add up to 1."""

    def run(self, noise: Sequence[float]) -> Run:
        """Return the run of the program, given the noise scale of each step in its integers."""


class Planned(msgspec.Struct, frozen=True):
    """A step with its reach."""

    name: str
    form: Form
    share: Fraction
    reach: Reach


def planned(steps: Sequence[Step], coded: Encoding) -> tuple[Planned, ...]:
    """Return the steps with their reaches.

    Raises:
        PlanError: ``plan.learner``: more steps or integers than a fit may have.
        ValueError: The shares do not add up to 1, or a form is none of the encoding: a defect of the learner.
    """
    # Steps of one form have one reach.
    reaches = {form: reach(form, coded) for form in {step.form for step in steps}}
    found = tuple(Planned(step.name, step.form, step.share, reaches[step.form]) for step in steps)
    if not found or sum((step.share for step in found), Fraction(0)) != 1 or any(step.share <= 0 for step in found):
        raise ValueError("the shares of a program's steps add up to 1")
    integers = sum(step.reach.width for step in found)
    if len(found) > MAX_STEPS or integers > MAX_TRANSCRIPT:
        raise PlanError(
            "plan.learner",
            f"the fit would have {len(found)} steps and release {integers} integers",
            clause=f"a fit has at most {MAX_STEPS} steps and {MAX_TRANSCRIPT} integers",
            next_step="use fewer steps, features or labels",
        )
    return found


def drive(
    program: Program, steps: Sequence[Planned], noise: Sequence[float], answer: Callable[[int, Query], Sequence[int]]
) -> Model:
    """Run a program; ``answer`` returns the noisy integers of a step by its position. Returns the model.

    Raises:
        ValueError: The program departs from its steps: a defect of the learner. Nothing more was asked.
    """
    run = program.run(noise)
    query = next(run)
    for index, step in enumerate(steps):
        if query.form != step.form:
            raise ValueError("a program asks what it planned")
        try:
            query = run.send(answer(index, query))
        except StopIteration as end:
            if index + 1 < len(steps):
                raise ValueError("a program takes all its steps") from None
            found: Model = end.value
            return found
    raise ValueError("a program ends after its last step")


def model(program: Program, steps: Sequence[Planned], noise: Sequence[float], transcript: Sequence[int]) -> Model:
    """Return the model of a transcript: the noisy integers of all steps, one after the other.

    Raises:
        MalformedError: ``release.shape``: the transcript does not have the length the steps imply.
    """
    ends = list(accumulate(step.reach.width for step in steps))
    if len(transcript) != ends[-1] or len(noise) != len(steps):
        raise MalformedError("release.shape", "the transcript does not have the shape the program implies")

    def recorded(index: int, _query: Query) -> Sequence[int]:
        return transcript[ends[index] - steps[index].reach.width : ends[index]]

    return drive(program, steps, noise, recorded)
