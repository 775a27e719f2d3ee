"""Decoding of plans: total, bounded, canonical."""

from __future__ import annotations

import json
import random

import pytest
from plan_cards import TABLE, VISITS, ask

from cloister.errors import MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan import codec

COL = {"op": "col", "name": "age"}
GOOD = {
    "op": "vector_sum",
    "source": {"op": "filter", "source": {"op": "table", "name": TABLE},
               "where": {"op": "compare", "kind": "ge", "left": COL, "right": {"op": "number", "value": "18"}}},
    "measures": [{"op": "mean", "name": "m", "of": {"op": "col", "name": "bmi"}}, {"op": "count", "name": "n"}],
    "rho": "1/100",
    "keys": ["sex"],
}  # fmt: skip


def deep(levels: int) -> dict:
    node: dict = COL
    for _ in range(levels):
        node = {"op": "negate", "term": node}
    return {**GOOD, "measures": [{"op": "sum", "name": "s", "of": node}]}


def with_source(source: dict) -> dict:
    return {**GOOD, "source": source}


def test_round_trip_and_one_digest_per_plan():
    plan = codec.decode(GOOD)
    assert codec.decode(codec.encode(plan)) == plan
    assert codec.decode(json.dumps(GOOD, indent=3).encode()) == plan
    spelled = {**GOOD, "version": 1, "measures": [GOOD["measures"][0], {"op": "count", "name": "n", "of": None}]}
    assert codec.digest(codec.decode(spelled)) == codec.digest(plan)
    assert codec.digest(codec.decode({**GOOD, "rho": "1/101"})) != codec.digest(plan)


def test_every_node_survives_encoding():
    term = a.Case(
        a.And(
            (
                a.Not(a.IsNull(a.Col("x"))),
                a.Or((a.Boolean(True), a.IsIn(a.Col("c"), (a.Text("é"), a.Date("2024-01-31"))))),
            )
        ),
        a.Clip(a.Abs(a.Scale(a.Negate(a.Fill(a.Col("x"), a.Number("1/3"))), "-0.5")), "0", "9"),
        a.Arithmetic("sub", a.Col("x"), a.Number("1")),
    )
    source = a.Cap(
        a.Select(a.Derive(VISITS, (("n", term), ("k", a.Cut(a.Col("x"), ("0", "1"))))), ("n", "k")), 2, ("k",), 1
    )
    plan = ask(a.Sum("s", term), a.Gram("g", (term, a.Col("n"))), source=source)
    assert codec.decode(codec.encode(plan)) == plan


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"op":"vector_sum"}', b'"vector_sum"',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"op": NaN}', b" " * (codec.MAX_BYTES + 1),
        {}, [], None, 7, {**GOOD, "op": "sql"}, {**GOOD, "extra": 1}, {**GOOD, "rho": 0.01}, {**GOOD, "rho": 1},
        {**GOOD, "version": 2}, {**GOOD, "keys": "sex"}, {**GOOD, "keys": [1]}, {**GOOD, "measures": {}}, {1: GOOD},
        {**GOOD, "measures": [{"op": "max", "name": "m", "of": COL}]}, {**GOOD, "keys": ["\ud800"]},
        {**GOOD, "keys": ["x" * (codec.MAX_TEXT + 1)]}, {**GOOD, "keys": ["k"] * (codec.MAX_LIST + 1)},
        deep(codec.MAX_DEPTH), deep(100_000), with_source({"op": "table", "name": object()}),
        with_source({"op": "cap", "source": {"op": "table", "name": TABLE}, "rows": 2**53 + 1}),
        with_source({"op": "cap", "source": {"op": "table", "name": TABLE}, "rows": "1"}),
        with_source({"op": "cap", "source": {"op": "table", "name": TABLE}, "rows": True}),
        with_source({**GOOD["source"], "where": {"op": "table", "name": TABLE}}),
    ],
)  # fmt: skip
def test_what_is_not_a_plan_is_malformed(broken):
    with pytest.raises(MalformedError) as refused:
        codec.decode(broken)
    assert refused.value.code.startswith("plan.")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"measures": []}, "plan.size"),
        ({"measures": [{"op": "count", "name": f"n{i}"} for i in range(65)]}, "plan.size"),
        ({"measures": [{"op": "count", "name": "n"}] * 2}, "plan.name"),
        ({"measures": [{"op": "count", "name": ""}]}, "plan.name"),
        ({"keys": ["sex", "sex"]}, "plan.name"),
        ({"keys": [f"k{i}" for i in range(9)]}, "plan.size"),
        ({"rho": "0"}, "plan.rho"),
        ({"rho": "-1"}, "plan.rho"),
        ({"rho": "1/0"}, "plan.number"),
        ({"rho": "1e3"}, "plan.number"),
        ({"rho": "inf"}, "plan.number"),
        ({"rho": "1" * 41}, "plan.number"),
        ({"rho": "١"}, "plan.number"),
        ({"measures": [{"op": "gram", "name": "g", "of": []}]}, "plan.gram"),
        ({"source": {"op": "cap", "source": {"op": "table", "name": TABLE}, "rows": 0}}, "plan.cap"),
    ],
)
def test_what_can_never_be_released_is_refused_with_advice(changes, code):
    with pytest.raises(PlanError) as refused:
        codec.decode({**GOOD, **changes})
    assert refused.value.code == code
    assert refused.value.next_step


def fuzz(rounds: int) -> int:
    """Feed damaged and invented documents; anything but the two errors propagates. Returns how many decoded."""
    rng, decoded = random.Random(1), 0
    atoms = [None, True, 0, -1, 2**70, 1.5, "", "col", "1/3", "2024-01-31", [], {}, "x" * 2000, "\ud800", b"b", COL]
    ops = [
        "table",
        "filter",
        "derive",
        "select",
        "cap",
        "col",
        "number",
        "and",
        "case",
        "is_in",
        "cut",
        "count",
        "gram",
        "x",
    ]

    def invent(depth: int):
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(atoms)
        if rng.random() < 0.3:
            return [invent(depth - 1) for _ in range(rng.randint(0, 4))]
        fields = rng.sample(
            ["name", "source", "where", "of", "term", "terms", "value", "left", "right", "rows", "by"], 3
        )
        return {"op": rng.choice(ops), **{field: invent(depth - 1) for field in fields}}

    def damage(value, depth: int = 0):
        if rng.random() < 0.06:
            return invent(3)
        if isinstance(value, dict):
            return {name: damage(item, depth + 1) for name, item in value.items() if rng.random() > 0.02}
        return [damage(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(GOOD).encode()
    for number in range(rounds):
        document: object
        if number % 4 == 0:
            raw = bytearray(text)
            for _ in range(rng.randint(1, 6)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            document = bytes(raw[: rng.randint(0, len(raw))]) if rng.random() < 0.2 else bytes(raw)
        else:
            document = damage(GOOD) if number % 4 < 3 else invent(5)
        try:
            plan = codec.decode(document)
        except (MalformedError, PlanError):
            continue
        decoded += 1
        assert codec.decode(codec.encode(plan)) == plan
    return decoded


def test_decoder_fuzz():
    assert 0 < fuzz(10_000) < 9_000


@pytest.mark.slow
def test_decoder_fuzz_long():
    assert fuzz(100_000) > 0
