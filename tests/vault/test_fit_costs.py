"""The planned time of a fit counts what its program does besides the rows; what it counts is what is done."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fit_engine_checks import PLAN, small

from cloister.plan import algebra as a
from cloister.plan import layout as layouts
from cloister.plan.grid import Grid
from cloister.plan.learning import PlannedFit, additive, program_of, seeding
from cloister.plan.learning.encoding import Block, Encoding
from cloister.plan.learning.program import planned
from cloister.vault import fit as fitting
from cloister.vault.analyse import analyse
from cloister.vault.fit import fit
from cloister.vault.fit_costs import learning_ms
from cloister.vault.price import price

NUMBER = Grid("number", -100, 100)


def numbers(count: int, classes: int = 0) -> Encoding:
    """An encoding of as many numbers, and a target of as many classes."""
    blocks = tuple(Block(a.Col(f"x{index}"), NUMBER, 1 + index, 1) for index in range(count))
    target = a.Col("y") if classes else None
    return Encoding(blocks, target, None, tuple(map(str, range(classes))))


def encoding_of_labels(count: int, classes: int) -> Encoding:
    """An encoding of a category of so many labels."""
    names = tuple(map(str, range(count)))
    block = Block(a.Col("x"), Grid("category", 0, count - 1, domain=names), 1, count, names)
    return Encoding((block,), a.Col("y"), None, tuple(map(str, range(classes))))


def fitted(learner: a.Learner, coded: Encoding) -> PlannedFit:
    found = program_of(learner, coded)
    return PlannedFit(coded, found, planned(found.steps, coded))


def test_initial_centres_are_in_the_planned_time_of_clusters() -> None:
    few, many = (fitted(a.KMeans(clusters, steps=1), numbers(256)) for clusters in (2, 64))
    # Four thousand candidates of 256 numbers, and the products of 129,000 pairs: seconds, however few rows there are.
    assert learning_ms(many, 1) > 2_000
    assert learning_ms(few, 1) < 100


def counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> dict[str, int]:
    """How often functions of the seeding are called from now on."""
    done = dict.fromkeys(names, 0)

    def counting(name: str):
        original = getattr(seeding, name)

        def called(*arguments):
            done[name] += 1
            return original(*arguments)

        return called

    for name in names:
        monkeypatch.setattr(seeding, name, counting(name))
    return done


@pytest.mark.parametrize("clusters", [1, 2, 5])
def test_the_work_of_initial_centres_is_what_they_take(clusters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done = counted(monkeypatch, "_candidate", "_product")
    seeding.initial(clusters, 0, numbers(3))
    assert tuple(done.values()) == seeding.initial_work(clusters)


def test_the_work_of_clusters_of_cells_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = seeding.initial(16, 0, numbers(3))
    done = counted(monkeypatch, "_apart")
    seeding.gathered(cells, range(1, 17), 4, 0)
    assert done["_apart"] == seeding.gathered_work(16, 4)
    assert fitted(a.KMeans(4), numbers(3)).program.work[1] > 2 * done["_apart"]


def test_the_metrics_of_several_classes_are_in_the_planned_time_and_one_where_they_would_take_too_long() -> None:
    two, many = (fitted(a.Logistic(steps=1), numbers(200, classes)) for classes in (2, 32))
    assert (two.program.metrics, many.program.metrics) == (1, 32)
    # A metric has a million and a third multiplications.
    assert learning_ms(many, 1) > 31 * 200**3 / 6 * 3e-5
    assert fitted(a.Logistic(steps=1), numbers(255, 32)).program.metrics == 32
    coded = encoding_of_labels(500, 32)
    assert fitted(a.Logistic(steps=1), coded).program.metrics == 1


def test_the_moves_of_an_additive_model_are_in_its_planned_time() -> None:
    found = fitted(a.Additive(rounds=2), numbers(254, classes=32))
    weights = 32 * sum(step.form.stop - step.form.first for step in found.steps[2:])
    # Each weight of each visit is an exponential in decimals, and each visit asks with all 8,000 weights.
    assert learning_ms(found, 1) > weights * 0.01 + len(found.steps) * 32 * 255 * 2e-4


def test_an_additive_program_makes_its_features_once(monkeypatch: pytest.MonkeyPatch) -> None:
    coded, made = numbers(6, classes=3), []
    original = additive.ordered
    monkeypatch.setattr(additive, "ordered", lambda block: made.append(block) or original(block))
    found = fitted(a.Additive(rounds=3), coded)
    run = found.program.run([1.0] * len(found.steps))
    next(run)
    for step in found.steps[:-1]:
        run.send([0] * step.reach.width)
    with pytest.raises(StopIteration):
        run.send([0] * found.steps[-1].reach.width)
    assert len(made) == len(coded.blocks)


def test_a_fit_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, analysis = small()
    made = []
    original = layouts.planned_fit
    monkeypatch.setattr(layouts, "planned_fit", lambda *given: made.append(given) or original(*given))
    again = analyse(PLAN, analysis.cards)
    monkeypatch.setattr(fitting, "planned_fit", lambda *given: made.append(given) or original(*given))
    fit(engine, again, PLAN, price(again, Fraction(1, 20)))
    assert len(made) == 1
