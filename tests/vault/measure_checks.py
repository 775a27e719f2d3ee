"""Checks of measures, norms and quantiles, used by their tests and against mutants. All repeat exactly."""

from __future__ import annotations

import itertools
import math
import statistics
from fractions import Fraction

import msgspec
import pyarrow as pa
from price_checks import CARD, analysed
from vault_fuzzing import TABLE

from cloister.plan import algebra as a
from cloister.plan import layout as layout_module
from cloister.plan import shape as shape_module
from cloister.replay import perturb
from cloister.vault import engine as engine_module
from cloister.vault import noise, norms

X, Y, B = a.Col("x"), a.Col("y"), a.Col("b")
TINY = 1e-9
ROWS = [(i % 11 - 7, None if i % 4 == 0 else (i * 7 % 21) / 2, i % 3 == 0, f"p{i // 3}", ("red", "blue")[i % 2])
        for i in range(90)]  # fmt: skip


def table(rows=ROWS) -> pa.Table:
    x, y, b, names, c = zip(*rows, strict=True)
    return pa.table({"id": names, "x": x, "y": y, "c": c, "b": b})


def component(role: str, measure: a.Measure):
    (found,) = {part for part in analysed(measure).layout.components if part.role == role and part.terms[:1] != (Y,)}
    return found


def exact_shape(*measures, keys=(), rows=ROWS, card=CARD):
    """What a release without noise shows."""
    analysis = analysed(*measures, keys=keys, card=card)
    engine = engine_module.Engine()
    engine.load(TABLE, card, table(rows), b"k")
    exact = engine.run(analysis)
    engine.close()
    scales = (TINY,) * len(analysis.layout.components)
    return shape_module.shape(analysis.plan, {TABLE: card}, noise.add_noise(exact, scales), scales)


def check_values() -> None:
    """With the noise off every measure is what pandas and the statistics module say."""
    both = [(x, y) for x, y, *_ in ROWS if y is not None]
    xs, ys = [x for x, *_ in ROWS], [y for _, y in both]
    found = exact_shape(
        a.Units("u"), a.Ratio("r", Y, B), a.Variance("v", X), a.Variance("s", Y, root=True, ddof=0),
        a.Covariance("c", (X, Y)), a.Covariance("c0", (Y, X), ddof=0), a.Covariance("k", (X, Y), correlation=True),
        a.Quantile("q", Y, ("3/4", "1/2")), a.Mean("m", Y),
    )  # fmt: skip
    values = {measure.name: measure.values[0] for measure in found.measures}
    covariance = statistics.covariance([x for x, _ in both], ys)
    wanted = {
        "u": 30,
        "r": sum(ys) / sum(b for _, y, b, *_ in ROWS if y is not None),
        "v": statistics.variance(xs),
        "s": statistics.pstdev(ys),
        "c": covariance,
        "c0": covariance * (len(both) - 1) / len(both),
        "k": statistics.correlation([x for x, _ in both], ys),
        "m": statistics.mean(ys),
    }
    for name, value in wanted.items():
        assert math.isclose(values[name], value, rel_tol=1e-9), (name, values[name], value)
    for level, name in ((0.75, "q 3/4"), (0.5, "q 1/2")):
        below, above = (sum(y < values[name] for y in ys), sum(y > values[name] for y in ys))
        assert below <= level * len(ys) <= len(ys) - above
    wide = msgspec.structs.replace(CARD, columns=tuple(
        msgspec.structs.replace(column, low="-70000", high="130000") if column.name == "x" else column
        for column in CARD.columns
    ))  # fmt: skip
    large = [(x * 9_000, *rest) for x, *rest in ROWS]
    (spread,) = exact_shape(a.Variance("v", X), rows=large, card=wide).measures
    assert math.isclose(spread.values[0], statistics.variance([x for x, *_ in large]), rel_tol=1e-3)
    (per_cell,) = exact_shape(a.Units("u"), keys=("c",)).measures
    assert per_cell.values == (30, 30, 0)


def check_sharing() -> None:
    """Mean, deviation and count of a column are one vector, and all weights are one price."""
    frame = analysed(a.Count("n", Y), a.Mean("m", Y), a.Variance("s", Y, root=True), a.Covariance("c", (X, Y))).layout
    assert [part.role for part in frame.components] == ["count", "centred", "square", "centred", "product"]
    assert sum(part.weight for part in frame.components) == 1
    assert frame.components[0].weight == Fraction(1, 4) * (1 + Fraction(1, 4) + Fraction(1, 3) + Fraction(1, 5))
    square = frame.components[2]
    assert (square.lo, square.hi) == (-400, 400)


def check_norms() -> None:
    """Every way to add, or replace, the rows of a unit, by enumeration: the claims hold and are reached."""
    total = analysed(a.Sum("m", X)).layout.components[0]
    positive = analysed(a.Sum("m", a.Abs(X))).layout.components[0]
    small = msgspec.structs.replace(total, lo=-2, hi=1), msgspec.structs.replace(positive, lo=0, hi=2)
    units = analysed(a.Units("u")).layout.components[0]
    for part, rows, per_cell, cells, mode in itertools.product(
        (*small, units), (1, 2, 3), (1, 2), (1, 2, 3), ("add", "replace")
    ):
        if per_cell > rows:
            continue
        claim = norms.bound(part, rows, per_cell, mode, cells=cells)
        vectors = _vectors(part, rows, per_cell, cells)
        others = vectors if mode == "replace" else {(0,) * cells}
        changes = [[abs(x - y) for x, y in zip(one, other, strict=True)] for one in vectors for other in others]
        worst = (
            max(map(sum, changes)), max(map(max, changes)), max(sum(x * x for x in change) for change in changes)
        )  # fmt: skip
        assert worst[0] <= claim.l1, (part.role, rows, per_cell, cells, mode, worst, claim)
        assert worst[1] <= claim.linf
        assert worst[2] <= claim.l2_squared
        if mode == "add" or (cells == 1 and part.role != "units"):
            assert worst == (claim.l1, claim.linf, claim.l2_squared), (part.role, rows, per_cell, cells, mode)
    assert norms.bound(units, 9, 9, cells=50, groups=2).l1 == 2
    assert norms.bound(units, 9, 9, "replace", cells=50, groups=2).l2_squared == 4
    assert norms.bound(units, 9, 9, "replace", cells=3, groups=2).l1 == 3
    assert norms.bound(small[0], 9, 2, cells=50, groups=2).l1 == 8
    assert norms.bound(small[1], 3, 1, "replace", cells=9).l2_squared == 2 * norms.bound(small[1], 3, 1).l2_squared
    assert norms.bound(small[0], 3, 1, "replace", cells=9).l2_squared == 4 * norms.bound(small[0], 3, 1).l2_squared
    gram = analysed(a.Gram("g", (X,))).layout.components[0]
    assert norms.bound(gram, 2, 2).l1 == 2 * 3 * gram.hi


def _vectors(part, rows: int, per_cell: int, cells: int) -> set[tuple[int, ...]]:
    found = set()
    for spread in itertools.product(range(per_cell + 1), repeat=cells):
        if sum(spread) > rows:
            continue
        if part.role == "units":
            found.add(tuple(map(bool, spread)))
            continue
        ends = [{n * part.lo, n * part.hi, 0} for n in spread]
        found |= set(itertools.product(*ends))
    return found


def check_quantile() -> None:
    """Scores by their definition, their sensitivity by enumeration, and the chance of a choice by its law."""
    rows = [3, 0, 2, 5, 1]
    for place, parts in ((1, 2), (1, 3), (19, 20)):
        for index, found in enumerate(noise.scores(rows, place, parts)):
            above, below = sum(rows[index + 1 :]), sum(rows[:index])
            wanted = max(0, parts * below - place * sum(rows), parts * above - (parts - place) * sum(rows))
            assert found == -wanted
        part = analysed(a.Quantile("q", X, (f"{place}/{parts}",))).layout.components[0]
        most = 0
        for added in range(5):
            more = [count + (index == added) for index, count in enumerate(rows)]
            pairs = zip(noise.scores(rows, place, parts), noise.scores(more, place, parts), strict=True)
            most = max(most, *(abs(x - y) for x, y in pairs))
        assert most == norms.bound(part, 1, 1).linf == max(place, parts - place)
    three = analysed(a.Quantile("q", X, ("1/4", "1/2", "3/4"))).layout.components[0]
    assert norms.bound(three, 2, 2).l2_squared == 4 * (9 + 4 + 9)
    assert three.weight == 1
    assert noise.scores([5, 1, 5], 1, 2) == [-1, 0, -1]
    drawn = [noise.quantiles([5, 1, 5], (1,), 2, 0.8)[0] for _ in range(6_000)]
    weight = math.exp(-1 / 0.8)
    share = 1 / (1 + 2 * weight)
    assert abs(drawn.count(1) / 6_000 - share) < 5.5 * math.sqrt(share * (1 - share) / 6_000)
    assert abs(drawn.count(0) - drawn.count(2)) < 5.5 * math.sqrt(6_000 * (1 - share))
    wide = msgspec.structs.replace(CARD.columns[1], low="0", high="10000")
    card = msgspec.structs.replace(CARD, columns=(CARD.columns[0], wide, *CARD.columns[2:]))
    part = layout_module.layout(a.VectorSum(a.Table(TABLE), (a.Quantile("q", X, ("1/2",)),), "1"), {TABLE: card})
    (part,) = part.components
    assert (part.candidates, part.step, part.offset) == (2001, 5, 0)
    (median,) = exact_shape(
        a.Quantile("q", X, ("1/2",)),
        card=card,
        rows=[(8 if i < 50 else 9_999, *rest) for i, (_, *rest) in enumerate(ROWS)],
    ).measures
    assert median.values == (10,)
    for high in (2047, 2048, 4094, 4095):
        wide = msgspec.structs.replace(CARD.columns[1], low="0", high=str(high))
        card = msgspec.structs.replace(CARD, columns=(CARD.columns[0], wide, *CARD.columns[2:]))
        frame = layout_module.layout(a.VectorSum(a.Table(TABLE), (a.Quantile("q", X, ("1/2",)),), "1"), {TABLE: card})
        assert 1024 <= frame.components[0].candidates <= 2048


def check_quantile_shape() -> None:
    plan = a.VectorSum(a.Table(TABLE), (a.Quantile("q", X, ("3/4", "0.5")), a.Count("n")), "1")
    shaped = shape_module.shape(plan, {TABLE: CARD}, [2, 5, 100], (3.0, 3.0))
    upper, lower, _ = shaped.measures
    assert (upper.name, upper.values, lower.name, lower.values) == ("q 3/4", (-2.0,), "q 0.5", (-5.0,))
    assert math.isnan(upper.stderr[0])
    assert upper.unreliable == (False,)
    swapped = shape_module.shape(plan, {TABLE: CARD}, [5, 2, 100], (3.0, 3.0))
    assert [measure.values for measure in swapped.measures[:2]] == [(-2.0,), (-5.0,)]
    few = shape_module.shape(plan, {TABLE: CARD}, [2, 5, 4], (3.0, 3.0)).measures[0]
    assert few.unreliable == (True,)
    frame = layout_module.layout(plan, {TABLE: CARD})
    for candidates in (2, 3, 11):
        part = msgspec.structs.replace(frame.components[0], candidates=candidates)
        for start in range(candidates):
            moved = perturb._moved(start, part, 3.0, f"release {start}")
            assert moved != start
            assert 0 <= moved < candidates


def check_flags() -> None:
    """Shares of rows with a value out of bounds, by hand, and of units that had more rows than are kept."""
    rows = [(99, 3.0, True, "a", "red"), (0, 99.0, True, "b", "red"), (0, 3.0, True, "c", "violet"),
            *[(1, 1.0, True, "d", "red")] * 6]  # fmt: skip
    measures = exact_shape(
        a.Clipped("x", X), a.Clipped("y", Y), a.Clipped("xy", a.Arithmetic("add", X, Y)), a.Capped("c"), rows=rows
    ).measures
    assert [round(7 * measure.values[0], 9) for measure in measures] == [1, 1, 2, 4]
    # A limited value behind a null of the term is no share of it: of the first and third row nothing is there.
    there = a.Only(X, a.Not(a.Compare("eq", Y, a.Number("3"))))
    (shown,) = exact_shape(a.Clipped("there", there), rows=rows).measures
    assert round(5 * shown.values[0], 9) == 1
