"""The 13 privacy bugs an audit of OpenDP found in 2026 (privacy.md section 8 f): here each is sound, or refused.

Every test is named after the issue and says in one sentence what it was. ``moved`` runs a plan on neighbours and holds
the exact distance against the claim; where the bug was in a mechanism, the mechanism is examined.
"""

from __future__ import annotations

import datetime
import math
from fractions import Fraction

import pyarrow as pa
import pytest

from cloister.contract.card import Card, Column
from cloister.errors import CloisterError, PlanError
from cloister.plan import algebra as a
from cloister.plan.gaussian import pmf
from cloister.plan.precision import charge_of
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.price import price

NAME = "audit.rows"
ROWS = a.Table(NAME)
CARD = Card(
    NAME, "Rows", "", "person", ("id",), "exact", "people", 2, 1000, "demonstration",
    (
        Column("id", "string", 2, ""),
        Column("x", "int", 2, "", low="0", high="10", step="1"),
        Column("y", "decimal", 2, "", low="-5", high="5", step="0.25", nullable=True),
        Column("c", "string", 2, "", domain=("red", "blue"), nullable=True),
        Column("d", "date", 2, "", low="2024-01-01", high="2024-12-31", nullable=True),
    ),
    "generated", "none", ("testing",),
)  # fmt: skip
DAY = datetime.date(2024, 5, 1)


def row(person: str, x: int = 1, y: float | None = 0.5, c: str | None = "red", d: object = DAY) -> dict[str, object]:
    return {"id": person, "x": x, "y": y, "c": c, "d": d}


TYPES = {"id": pa.string(), "x": pa.int64(), "y": pa.float64(), "c": pa.string(), "d": pa.date32()}
OTHERS = [row(f"p{n}", n % 11, (n % 9) / 2 - 2, "blue" if n % 2 else "red") for n in range(20)]


def ask(*measures: a.Measure, source: a.Relation = ROWS, keys: tuple[str, ...] = ()) -> a.VectorSum:
    return a.VectorSum(source, measures, "1/10", keys)


def exact(plan: a.VectorSum, rows: list[dict[str, object]], **types: pa.DataType) -> tuple[int, ...]:
    kinds = {**TYPES, **types}
    engine = Engine(1)
    table = pa.table({name: pa.array([made[name] for made in rows], kind) for name, kind in kinds.items()})
    engine.load(NAME, CARD, table, b"k")
    found = engine.run(analyse(plan, {NAME: CARD})).values
    engine.close()
    return found


def moved(plan: a.VectorSum, rows: list[dict[str, object]]) -> list[int]:
    """Return how far rows of one person move each integer; no norm claimed is passed."""
    analysis = analyse(plan, {NAME: CARD})
    change = [abs(x - y) for x, y in zip(exact(plan, OTHERS + rows), exact(plan, OTHERS), strict=True)]
    start, width = 0, analysis.layout.width
    for part, bound in zip(analysis.layout.components, analysis.bounds, strict=True):
        own = [value for place, value in enumerate(change) if start <= place % width < start + part.width]
        start += part.width
        assert sum(own) <= bound.l1 and max(own) <= bound.linf and sum(v * v for v in own) <= bound.l2_squared
    return change


def test_2911_the_noisy_maximum_costs_what_it_should():
    """The zCDP cost of a noisy maximum was four times too small."""
    plan = ask(a.Quantile("q", a.Col("x"), ("1/4",)))
    analysis = analyse(plan, {NAME: CARD})
    cost = price(analysis, Fraction(1, 10))
    (part,), (bound,) = cost.components, analysis.bounds
    # Scores move by at most linf; a Gumbel maximum with scale s is eps-DP with eps = 2 linf / s, and costs eps^2 / 8.
    assert part.rho >= (2 * Fraction(bound.linf) / Fraction(part.sigma)) ** 2 / 8
    assert bound.linf >= 2 * 3, "two rows of a person, each worth max(q, 1 - q) in quarters"


def test_2922_the_threshold_counts_its_whole_tail():
    """The delta of a threshold left out the mass at the threshold itself: it reported .0049 where .0129 was true."""
    from cloister.plan.gaussian import threshold

    for sigma, delta in ((2.0, Fraction(1, 100)), (11.0, Fraction(1, 1000))):
        tau = threshold(sigma, delta)
        passes = math.fsum(pmf(sigma, z) for z in range(tau, tau + math.ceil(12 * sigma)))
        assert passes <= delta, "1 + Z > tau is Z >= tau"
        assert math.fsum(pmf(sigma, z) for z in range(tau - 1, tau + math.ceil(12 * sigma))) > delta


def test_2923_deviations_are_of_integers_and_not_of_a_rounded_mean():
    """A sum of squared deviations from a floating-point mean moved by 63.9 where 40.6 was claimed."""
    plan = ask(a.Variance("v", a.Col("y")))
    assert moved(plan, [row("ada", y=5.0), row("ada", y=-5.0)])
    assert all(isinstance(value, int) for value in exact(plan, OTHERS))


def test_2937_days_are_counted_in_64_bits_and_clipped():
    """A date as a 32-bit number of days wrapped around; here it is clipped to the card before anything is computed."""
    days = a.Arithmetic("sub", a.Col("d"), a.Date("2024-01-01"))
    extreme = [row("ada", d=datetime.date.max), row("ada", d=datetime.date.min)]
    assert max(moved(ask(a.Sum("s", days)), extreme)) <= 2 * 365
    with pytest.raises(PlanError) as refused:
        analyse(ask(a.Sum("s", a.Col("d"))), {NAME: CARD})
    assert refused.value.code == "plan.types"


def test_2938_a_cast_that_fails_is_null_and_its_count_has_noise():
    """Rows whose cast failed became null, and the number of nulls was released exactly."""
    plan = ask(a.Sum("bad", a.IsNull(a.Parse(a.Col("c"), "0", "9", "1"))))
    change = moved(plan, [row("ada"), row("ada")])
    assert change == [2]
    assert price(analyse(plan, {NAME: CARD}), Fraction(1, 10)).rho > 0


def test_2939_nan_that_becomes_null_is_not_counted_for_free():
    """NaN became null, and a count of non-null values was charged epsilon 0."""
    plan = ask(a.Count("n", a.Col("y")))
    assert moved(plan, [row("ada", y=math.nan), row("ada", y=1.0)]) == [1]
    cost = price(analyse(plan, {NAME: CARD}), Fraction(1, 10))
    assert cost.rho > 0 and cost.sigmas[0] > 2


def test_2940_a_division_by_zero_is_null_and_its_count_has_noise():
    """``x % 0`` became null, and which rows did was free."""
    with pytest.raises(CloisterError):
        analyse(ask(a.Count("n", a.Modulo(a.Col("x"), "0"))), {NAME: CARD})
    ratio = a.Quotient(a.Number("1"), a.Col("x"), "0", "1", "0.25")
    assert moved(ask(a.Count("n", ratio), a.Sum("s", ratio)), [row("ada", x=0), row("ada", x=1)]) == [1, 4]


def test_2941_there_is_no_narrower_float_to_cast_to():
    """A sum of 32-bit floats was analysed as one of 64 bits: 276 of 300 answers told neighbours apart at epsilon 1."""
    tiny = [row("ada", y=0.1 + 2.0**-40), row("ada", y=1e30)]
    plan = ask(a.Sum("s", a.Col("y")))
    assert all(isinstance(value, int) for value in exact(plan, OTHERS + tiny))
    assert moved(plan, tiny) == [20], "0.1 lies on the grid at 0, and 1e30 is clipped to 5"
    narrow = [{**made, "y": None if made["y"] is None else float(made["y"])} for made in OTHERS]
    assert exact(plan, narrow, y=pa.float32()) == exact(plan, OTHERS)


def test_2942_no_timestamp_ends_the_process():
    """One timestamp out of range aborted the process."""
    bad = [row("ada", d=-(2**63)), row("ben", d=2**63 - 1), row("cleo", d=0)]
    for unit in ("s", "ms", "us", "ns"):
        found = exact(ask(a.Count("n", a.Col("d"))), bad, d=pa.timestamp(unit))
        assert found == (3,)


def test_2944_bins_are_codes_of_the_plan_not_of_the_data():
    """The physical code of a bin depended on which bins occurred: one row turned every 0 into 99."""
    bins = a.Cut(a.Col("x"), ("0", "2", "5", "11"))
    plan = ask(a.Count("n"), source=a.Derive(ROWS, (("bin", bins),)), keys=("bin",))
    assert sum(moved(plan, [row("ada", x=0)])) == 1
    assert exact(plan, [row("ada", x=6)]) == (0, 0, 1)
    assert exact(plan, [row("ada", x=6), row("ben", x=0)]) == (1, 0, 1)


def test_2945_rows_within_a_group_are_not_the_rows_that_change():
    """The most rows in a group was used as the change within one: epsilon was half of what it is."""
    capped = a.Cap(ROWS, 1, ("c",))
    bound = analyse(ask(a.Count("n"), source=capped), {NAME: CARD}).bounds[0]
    assert (bound.l1, bound.linf) == (2, 2), "a cap per value of c says nothing about a count without keys"
    assert moved(ask(a.Count("n"), source=capped), [row("ada", c="red"), row("ada", c="blue")]) == [2]
    grouped = ask(a.Count("n"), source=capped, keys=("c",))
    assert analyse(grouped, {NAME: CARD}).bounds[0].linf == 1


def test_2949_a_redefined_column_loses_its_bound():
    """A column could be redefined after a truncation by it, and kept the bound: rho .5 was claimed and 5,000 true."""
    capped = a.Cap(ROWS, 1, ("c",))
    redefined = a.Derive(capped, (("c", a.Fill(a.Only(a.Col("c"), a.Boolean(False)), a.Text("red"))),))
    plan = ask(a.Count("n"), source=redefined, keys=("c",))
    assert analyse(plan, {NAME: CARD}).bounds[0].linf == 2
    assert max(moved(plan, [row("ada", c="red"), row("ada", c="blue")])) == 2


def test_2950_a_slope_is_post_processing_of_sums():
    """The stability of a Theil-Sen slope was half of the true one; there are no pairs of units here to count."""
    plan = ask(a.Covariance("cov", (a.Col("x"), a.Col("y"))))
    assert moved(plan, [row("ada", x=10, y=5.0), row("ada", x=0, y=-5.0)])
    assert not any("sen" in name.lower() for name in vars(a))


def test_the_charge_is_that_of_the_scale_that_is_used():
    """All of the above rest on it: rho = L2^2 / (2 sigma^2), never rounded down."""
    for sigma in (0.7, 3.0, 1234.5):
        assert charge_of(9, sigma) >= Fraction(9) / (2 * Fraction(sigma) ** 2)
