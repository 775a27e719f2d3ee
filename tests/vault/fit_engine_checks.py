"""Checks of a whole fit on a small table: noise of every step, what the program sees, prices, tiers, limits, order."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import lru_cache

import msgspec
from vault_fuzzing import SECRET, TABLE, make_card, make_rows, to_arrow

from cloister.errors import CloisterError
from cloister.plan import algebra as a
from cloister.plan.learning import planned_fit
from cloister.plan.learning.program import Step, drive, model, planned
from cloister.plan.learning.queries import MAX_WEIGHT, Gradient, GradientForm, Gram, Nearest, NearestForm, check_query
from cloister.plan.learning.solving import Solver
from cloister.vault import fit as fitting
from cloister.vault.analyse import Analysis, analyse
from cloister.vault.engine import Engine
from cloister.vault.fit import fit
from cloister.vault.price import Price, deadline_ms, price

RHO = Fraction(1, 20)
SILENT = 0.01
"""A noise scale at which the noise is never anything but zero."""
PLAN = a.Fit(
    a.Table(TABLE), (a.Col("x"), a.Col("e"), a.Col("y")), a.Compare("gt", a.Col("x"), a.Number("0")),
    a.Logistic(steps=2), str(RHO),
)  # fmt: skip


@lru_cache(maxsize=1)
def small() -> tuple[Engine, Analysis]:
    """An engine with a few hundred rows, and the analysis of the plan."""
    rng = random.Random(11)
    card = make_card(rng)
    engine = Engine(1)
    engine.load(TABLE, card, to_arrow(card, make_rows(card, rng, 300), rng), SECRET)
    return engine, analyse(PLAN, {TABLE: card})


def at(sigmas: list[float]) -> Price:
    """The price of the plan with other noise."""
    found = price(small()[1], RHO)
    parts = tuple(
        msgspec.structs.replace(part, sigma=sigma) for part, sigma in zip(found.components, sigmas, strict=True)
    )
    return msgspec.structs.replace(found, components=parts)


def run(sigmas: list[float]) -> list[list[int]]:
    """The transcript of the plan with other noise, step by step."""
    engine, analysis = small()
    raw, steps = fit(engine, analysis, PLAN, at(sigmas)).raw, planned_fit(PLAN, analysis.typed.schema).steps
    found = []
    for step in steps:
        found.append(raw[: step.reach.width])
        raw = raw[step.reach.width :]
    assert not raw
    return found


def check_noise() -> None:
    """Every step has noise of its own level: a step with much noise is far from what it is without."""
    exact = run([SILENT] * 4)
    for noisy in range(4):
        sigmas = [1e6 if index == noisy else SILENT for index in range(4)]
        moved: list[int] = []
        while len(moved) < 5:  # one step has a single number, and that is near zero once in 250 times
            found = run(sigmas)
            assert found[:noisy] == exact[:noisy]
            moved += [x - y for x, y in zip(found[noisy], exact[noisy], strict=True)]
        spread = math.sqrt(sum(value * value for value in moved) / len(moved))
        # Of 5 to 21 normal numbers: outside once in 10^10.
        assert 5e3 < spread < 5e6, spread


def check_what_the_program_sees() -> None:
    """The vault asks what the transcript implies: the program has seen noisy integers and nothing else."""
    engine, analysis = small()
    asked: list[object] = []
    original = fitting.sums

    def recording(rows, query, coded, check):
        asked.append(query)
        return original(rows, query, coded, check)

    fitting.sums = recording
    try:
        priced = at([1e9] * 4)
        raw = fit(engine, analysis, PLAN, priced).raw
    finally:
        fitting.sums = original
    known, implied = planned_fit(PLAN, analysis.typed.schema), []
    places = iter(raw)

    def recorded(index: int, query: object) -> list[int]:
        implied.append(query)
        return [next(places) for _ in range(known.steps[index].reach.width)]

    drive(known.program, known.steps, priced.sigmas, recorded)
    assert asked == implied
    assert len({repr(query) for query in asked[1:]}) == 3, "the steps do not depend on the answers"


def check_prices() -> None:
    """Every step pays for its noise at what one unit can move, within its share; the sum is what is charged."""
    analysis = analyse(PLAN, small()[1].cards)
    found, known = price(analysis, RHO), planned_fit(PLAN, analysis.typed.schema)
    assert [part.width for part in analysis.layout.components] == [step.reach.width for step in known.steps]
    rows = analysis.cards[TABLE].rows_per_unit
    for part, step in zip(found.components, known.steps, strict=True):
        # All rows of a unit may say the same; where they may change, twice as many do.
        least = (rows * rows) * step.reach.squared
        assert part.rho >= Fraction(least) / (2 * Fraction(part.sigma) ** 2)
        assert part.rho <= step.share * RHO
    assert sum(part.rho for part in found.components) == found.rho <= RHO
    assert found.usage.models == 1
    assert sum(step.share for step in known.steps) == 1


def check_reads() -> None:
    """Features and target are read; the tier is the highest of theirs."""
    analysis = analyse(PLAN, small()[1].cards)
    assert {name for _, name in analysis.uses} >= {"x", "e", "y"}
    other = msgspec.structs.replace(PLAN, target=a.Compare("gt", a.Col("w"), a.Number("0")))
    found = analyse(other, analysis.cards)
    assert "w" in {name for _, name in found.uses}
    assert found.tier == 4


class Program:
    """A program that a test makes up."""

    def __init__(self, *asked, shares=None, steps=None) -> None:
        self.asked = asked
        forms = [query.form for query in asked] if steps is None else steps
        shares = shares or [Fraction(1, len(forms))] * len(forms)
        self.steps = tuple(
            Step(f"{index}", form, share) for index, (form, share) in enumerate(zip(forms, shares, strict=True))
        )

    def run(self, _noise):
        for query in self.asked:  # noqa: UP028 (what is iterated over takes no answers)
            yield query


def refused(run) -> bool:
    try:
        run()
    except (ValueError, CloisterError):
        return True
    return False


def check_programs() -> None:
    """A program that strays, ends early or late, or has prices that do not add up is stopped; nothing more is asked."""
    coded = planned_fit(PLAN, small()[1].typed.schema).coded
    gradient = Gradient(GradientForm(1, 0, coded.width), ((0,) * coded.width,))
    narrow = Gradient(GradientForm(1, 0, coded.width, clip=1), ((0,) * coded.width,))
    strays = [
        (Program(gradient, steps=[narrow.form]), 0),
        (Program(gradient, steps=[Gram().form]), 0),
        (Program(Gram(), steps=[Gram().form] * 2), 1),
        (Program(Gram(), Gram(), steps=[Gram().form]), 1),
    ]
    for program, most in strays:
        asked: list[object] = []

        def answer(_index, query, asked=asked):
            asked.append(query)
            return [0] * 10_000

        steps = planned(program.steps, coded)
        assert refused(lambda program=program, steps=steps, answer=answer: drive(program, steps, [1.0] * 2, answer))
        assert len(asked) == most
    assert not refused(lambda: planned(Program(Gram(), gradient).steps, coded))
    for shares in ([Fraction(1), Fraction(1)], [Fraction(3, 2), Fraction(-1, 2)], [Fraction(1, 4)] * 2):
        assert refused(lambda shares=shares: planned(Program(Gram(), gradient, shares=shares).steps, coded))


def check_limits() -> None:
    """A query beyond the limits of its form, or a form beyond those of its encoding, is none."""
    coded = planned_fit(PLAN, small()[1].typed.schema).coded
    form, width = GradientForm(1, 0, coded.width), coded.width
    for weights in (
        ((MAX_WEIGHT + 1,) * width,),
        ((-MAX_WEIGHT - 1,) * width,),
        ((0,) * (width - 1),),
        ((0,) * width,) * 2,
    ):
        assert refused(lambda weights=weights: check_query(Gradient(form, weights), coded))
    check_query(Gradient(form, ((MAX_WEIGHT,) * width,)), coded)
    assert refused(lambda: check_query(Nearest(NearestForm(1), ((5_000,) * (width - 1),)), coded))
    ends = [(0, width + 1), (3, 3), (-1, 2)]
    odd = [{"clip": 5_000}, {"clip": 0}, {"cap": -1}]
    forms = [GradientForm(1, *pair) for pair in ends] + [GradientForm(1, 0, width, **more) for more in odd]
    for form in (*forms, GradientForm(2, 0, width), NearestForm(0)):
        assert refused(lambda form=form: planned(Program(steps=[form]).steps, coded)), form


def check_deadlines() -> None:
    """Time grows with rows and steps, and what is too much for memory or time is refused."""
    _, analysis = small()
    card = analysis.cards[TABLE]

    def planned_ms(rows: int, steps: int = 3) -> int:
        cards = {TABLE: msgspec.structs.replace(card, row_limit=rows)}
        asked = msgspec.structs.replace(PLAN, learner=a.Logistic(steps=steps))
        return deadline_ms(analyse(asked, cards).cost)

    # 40 passes over ten million rows of three features are seconds on any machine.
    assert planned_ms(10_000_000, 40) >= 20_000
    assert planned_ms(10_000_000, 40) > planned_ms(10_000_000, 1)
    # Too much for memory, and quick enough.
    assert not refused(lambda: planned_ms(80_000_000, 1))
    assert refused(lambda: planned_ms(100_000_000, 1))
    assert refused(lambda: planned_ms(60_000_000, 500))


def check_total() -> None:
    """Whatever integers it is sent, a program makes a model."""
    known = planned_fit(PLAN, small()[1].typed.schema)
    rng = random.Random(3)
    width = sum(step.reach.width for step in known.steps)
    for most in (0, 1, 2**20, 2**45, 2**62):
        for _ in range(4):
            found = model(known.program, known.steps, [1.0] * 4, [rng.randint(-most, most) for _ in range(width)])
            assert len(found.weights[0]) == known.coded.width
    solved = Solver([[1.0, 1e9, 1.0], [1e9, 1.0, 1e9], [1.0, 1e9, 1.0]]).solve([1.0, -1.0, 1.0])
    assert max(map(abs, solved)) <= 18  # as long as the right side, times 1 / LOAD
    indefinite = Solver([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
    assert max(map(abs, indefinite.solve([1.0, -1.0, 1.0]))) <= 18
