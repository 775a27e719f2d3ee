"""Engine and compiler: exact integers, closed shape, constant faults, nothing of the analyst in SQL."""

from __future__ import annotations

import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from price_checks import CARD, ROWS, analysed
from vault_fuzzing import TABLE, Bench

from cloister.contract.card import Card, Column
from cloister.errors import FaultError, MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.vault import engine as engine_module
from cloister.vault import load as load_module
from cloister.vault.analyse import analyse
from cloister.vault.compile import compile_plan
from cloister.vault.engine import Engine
from cloister.vault.interpret import interpret


def table(n: int = 9) -> pa.Table:
    return pa.table(
        {
            "id": [f"p{i}" for i in range(n)],
            "x": np.arange(n) % 11 - 7,
            "y": [None if i % 3 == 0 else i / 2 for i in range(n)],
            "c": ["red" if i % 2 else "violet" for i in range(n)],
            "b": [i % 2 == 0 for i in range(n)],
        }
    )


@pytest.fixture
def engine():
    engine = Engine()
    engine.load(TABLE, CARD, table(), b"k")
    yield engine
    engine.close()


def test_sums_counts_and_means_by_hand(engine):
    exact = engine.run(
        analysed(a.Count("n"), a.Count("known", a.Col("y")), a.Sum("x", a.Col("x")), a.Mean("y", a.Col("y")))
    )
    values = [0.5, 1.0, 2.0, 2.5, 3.5, 4.0]
    assert exact.values == (9, 6, sum(range(-7, 2)), sum(round(4 * (value - 5)) for value in values))
    assert exact.widths == (1, 1, 1, 1)


def test_cells_that_do_not_occur_are_zero(engine):
    exact = engine.run(analysed(keys=("c", "b")))
    assert exact.values == (4, 0, 0, 0, 0, 5)
    nothing = a.Filter(ROWS, a.Boolean(False))
    assert engine.run(analysed(a.Count("n"), a.Sum("s", a.Col("x")), source=nothing)).values == (0, 0)
    assert engine.run(analysed(source=nothing, keys=("c",))).values == (0, 0, 0)


def test_no_text_of_the_plan_reaches_sql():
    hostile = "x'); DROP TABLE t0; --"
    source = a.Derive(
        ROWS, ((hostile, a.Case(a.Compare("eq", a.Col("c"), a.Text(hostile)), a.Text(hostile), a.Col("c"))),)
    )
    source = a.Cap(a.Filter(source, a.IsIn(a.Col(hostile), (a.Text("red"), a.Text("'\"")))), 3, (hostile,), 2)
    query = compile_plan(
        analysed(a.Sum(hostile, a.Clip(a.Col("x"), "-31337", "5")), source=source, keys=(hostile,)), {TABLE: "t0"}
    )
    assert "DROP" not in query.sql
    assert "red" not in query.sql
    assert "31337" not in query.sql
    assert set(query.parameters) == {word for word in query.parameters if f"${word}" in query.sql}


def test_faults_are_constant_and_say_nothing(engine, monkeypatch):
    found = set()
    for error in (
        duckdb.ConversionException("secret-alice"),
        MemoryError("secret-alice"),
        duckdb.OutOfMemoryException("7"),
    ):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "assemble", fail)
            with pytest.raises(FaultError) as fault:
                engine.run(analysed())
        assert fault.value.__cause__ is None
        assert fault.value.__suppress_context__
        found.add(str(fault.value.to_dict()))
    assert len(found) == 1
    assert "alice" not in found.pop()
    assert engine.run(analysed()).values == (9,)


@pytest.mark.parametrize("error", [duckdb.ConversionException("secret-alice"), pa.ArrowInvalid("secret-alice")])
def test_a_failing_load_says_nothing_of_the_data(engine, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(load_module, "kept_rows", fail)
    with pytest.raises(MalformedError) as refused:
        engine.load("other", CARD, table(), b"k")
    assert refused.value.code == "capsule.load"
    assert "alice" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_running_query_can_be_interrupted():
    engine = Engine()
    engine.load(TABLE, CARD, table(400_000), b"k")
    x = a.Col("x")
    slow = analysed(a.Gram("g", tuple(a.Arithmetic("add", x, a.Number(str(i))) for i in range(40))))
    stopped = threading.Event()

    def interrupt() -> None:
        # An interrupt before the query has started is lost, so keep asking.
        while not stopped.wait(0.05):
            engine.interrupt()

    thread = threading.Thread(target=interrupt)
    start = time.perf_counter()
    thread.start()
    try:
        with pytest.raises(FaultError):
            engine.run(slow)
    finally:
        stopped.set()
        thread.join()
    assert time.perf_counter() - start < 30
    assert engine.run(analysed()).values == (400_000,)
    engine.close()


def test_results_do_not_depend_on_threads_or_order():
    rng = np.random.default_rng(1)
    whole = table(50_000)
    answers = set()
    for threads in (1, 2, 4):
        engine = Engine(threads)
        engine.load(TABLE, CARD, whole.take(rng.permutation(50_000)), b"k")
        source = a.Cap(ROWS, 1, ("c",), 1)
        answers.add(engine.run(analysed(a.Mean("m", a.Col("y")), source=source, keys=("c", "b"))).values)
        engine.close()
    assert len(answers) == 1


def nested(depth: int) -> list[a.Plan]:
    """Plans at the decoder's limits: deep relations, deep and wide expressions."""
    x, positive = a.Col("x"), a.Compare("gt", a.Col("x"), a.Number("-9"))
    filters: a.Relation = ROWS
    derives: a.Relation = ROWS
    term: a.Scalar = x
    condition: a.Scalar = positive
    for _ in range(depth):
        filters = a.Filter(filters, positive)
        derives = a.Derive(derives, (("x", a.Negate(x)),))
        term = a.Negate(term)
        condition = a.Not(condition)
    wide = a.And(tuple(a.Compare("gt", x, a.Number(str(-8 - index))) for index in range(1200)))
    listed = a.IsIn(a.Clip(a.Col("y"), "0", "9"), tuple(a.Number(str(index)) for index in range(1000)))
    return [
        a.VectorSum(filters, (a.Count("n"),), "1"),
        a.VectorSum(derives, (a.Sum("s", x),), "1"),
        a.VectorSum(ROWS, (a.Sum("s", term),), "1"),
        a.VectorSum(a.Filter(ROWS, condition), (a.Count("n"),), "1"),
        a.VectorSum(a.Filter(ROWS, wide), (a.Count("n"),), "1"),
        a.VectorSum(a.Filter(ROWS, listed), (a.Count("n"),), "1"),
    ]


def test_plans_at_the_limits_of_the_decoder_run_and_agree_with_the_interpreter(engine):
    bench = Bench()
    loaded = bench.load(CARD, [table()], 2)
    for drawn in nested(150):
        plan = codec.decode(codec.encode(drawn))
        analysis = analyse(plan, {TABLE: CARD})
        assert list(engine.run(analysis).values) == interpret(plan, {TABLE: CARD}, {TABLE: loaded.rows()})


def test_plans_that_would_swell_are_refused_before_anything_is_charged():
    clipped: a.Scalar = a.Col("y")
    for _ in range(20):
        clipped = a.Clip(clipped, "0", "9")
    grams = tuple(
        a.Gram(f"g{index}", tuple(a.Scale(a.Col("x"), str(n + 2 + 100 * index)) for n in range(60)))
        for index in range(4)
    )
    capped: a.Relation = ROWS
    for _ in range(40):
        capped = a.Cap(capped, 3)
    for measures, source in (((a.Sum("s", clipped),), ROWS), (grams, ROWS), ((a.Count("n"),), capped)):
        with pytest.raises(PlanError) as refused:
            analysed(*measures, source=source)
        assert refused.value.code == "plan.cost"


def test_unit_keys_may_be_carried_but_not_used(engine):
    source = a.Select(a.Derive(ROWS, (("copy", a.Col("id")), ("x", a.Col("id")))), ("id", "copy", "x", "b"))
    assert engine.run(analysed(source=source)).values == (9,)
    with pytest.raises(PlanError):
        analysed(a.Sum("s", a.Col("x")), source=source)


def test_a_new_label_on_a_large_domain_is_cheap() -> None:
    """Codes that all move alike are moved by one addition."""
    domain = tuple(f"v{index}" for index in range(9_000))
    card = Card(
        "rows", "Rows", "", "person", ("id",), "exact", "people", 1, 1_000, "demonstration",
        (
            Column("id", "int", 1, ""),
            Column("c", "string", 1, "", nullable=True, domain=domain),
            Column("b", "bool", 1, "", nullable=True),
        ),
        "generated", "none", ("testing",),
    )  # fmt: skip
    case = a.Case(a.Col("b"), a.Text("new"), a.Col("c"))
    hit = a.Derive(a.Table("rows"), (("k", a.Compare("eq", case, a.Text("v2"))), ("n", a.IsNull(case))))
    plan = a.VectorSum(hit, (a.Sum("hit", a.Col("k")), a.Sum("null", a.Col("n"))), "1/10")
    analysis = analyse(plan, {"rows": card})
    assert len(compile_plan(analysis, {"rows": "t0"}).sql) < 2_000
    engine = Engine(1)
    rows = {"id": [1, 2, 3, 4], "c": ["v2", "v2", None, "v3"], "b": [True, False, None, False]}
    engine.load("rows", card, pa.table(rows), bytes(32))
    assert engine.run(analysis).values == (1, 1)
    engine.close()
