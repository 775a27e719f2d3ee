"""Engine and compiler: exact integers, closed shape, constant faults, nothing of the analyst in SQL."""

from __future__ import annotations

import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from price_checks import CARD, ROWS, analysed
from vault_fuzzing import TABLE

from cloister.errors import FaultError
from cloister.plan import algebra as a
from cloister.vault import engine as engine_module
from cloister.vault.compile import compile_plan
from cloister.vault.engine import Engine


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


def test_a_running_query_can_be_interrupted():
    engine = Engine()
    engine.load(TABLE, CARD, table(400_000), b"k")
    x = a.Col("x")
    slow = analysed(a.Gram("g", tuple(a.Arithmetic("add", x, a.Number(str(i))) for i in range(40))))
    start = time.perf_counter()
    timer = threading.Timer(0.15, engine.interrupt)
    timer.start()
    with pytest.raises(FaultError):
        engine.run(slow)
    timer.join()
    assert time.perf_counter() - start < 5
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
