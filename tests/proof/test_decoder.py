"""Random and mutated plans of the whole algebra against everything that runs before the charge (section 8 j).

Documents are invented from the structs of the algebra themselves, so a new node takes part without a word here. Each
is decoded, analysed, priced and, if it gets that far, compiled: nothing but a ``CloisterError`` may come out.
``CLOISTER_DECODER_PLANS`` sets their number (2,000 by default; 100,000 nightly).
"""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
import types
import typing
from fractions import Fraction

import msgspec
import pytest
from lineage_checks import CARDS, CLINIC, SHAPES, plans

from cloister.errors import CloisterError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.numbers import rational
from cloister.vault.analyse import analyse
from cloister.vault.compile import compile_plan
from cloister.vault.price import price

PLANS = int(os.environ.get("CLOISTER_DECODER_PLANS", "2000"))
# The exits have a decoder of their own, which accepts nothing of this algebra and the other way round.
NODES = [
    kind for kind in vars(a).values()
    if isinstance(kind, type) and issubclass(kind, a.Node) and kind not in (a.Node, a.Match, a.Deliver)
]  # fmt: skip
HINTS = {kind: typing.get_type_hints(kind) for kind in NODES}
TEXTS = (
    "x", "c", "b", "id", "n", "k", "rx", "red", "blue", CLINIC, "bank.claims", "1", "0", "-2", "1/3", "0.5", "-7",
    "nan",
    "1e9", "inf", "10000000000000000000", "1/0", "2024-02-30", "2024-01-31", "", "\x00",
    "é" * 300, "'; DROP TABLE t0; --",
    "\ud800", "$p0", "1" * 400, "1/100",
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, -1, 1000, 2**31, 2**53, 2**62, -(2**63))


class Inventor:
    """Builds JSON values of the algebra's types, now and then of another type."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def plan(self) -> typing.Any:
        return self.value(a.Plan, 7)

    def value(self, kind: typing.Any, depth: int) -> typing.Any:
        rng = self.rng
        if rng.random() < 0.01:
            return rng.choice([None, [], {}, "", 0.5, True, {"op": "table"}, [[]], 10**30])
        origin, inside = typing.get_origin(kind), typing.get_args(kind)
        if kind in HINTS:
            return self.node(kind, depth)
        if origin is typing.Literal:
            return rng.choice(inside)
        if origin in (typing.Union, types.UnionType):
            return self.value(self._of(inside, depth), depth)
        if origin is tuple:
            if inside[-1] is not Ellipsis:
                return [self.value(one, depth - 1) for one in inside]
            return [self.value(inside[0], depth - 1) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))]
        return {str: rng.choice(TEXTS), int: rng.choice(NUMBERS), bool: rng.random() < 0.5}.get(kind)

    def node(self, kind: type, depth: int) -> dict[str, typing.Any]:
        made: dict[str, typing.Any] = {"op": kind.__struct_config__.tag}
        for field in msgspec.structs.fields(kind):
            if field.required or self.rng.random() < 0.6:
                made[field.name] = self.value(HINTS[kind][field.name], depth - 1)
        made.pop("version", None)
        return made

    def _of(self, kinds: tuple[typing.Any, ...], depth: int) -> typing.Any:
        leaves = [kind for kind in kinds if kind in (a.Col, a.Number, a.Table, a.Text, a.Count, type(None), str)]
        return self.rng.choice(leaves if depth <= 0 and leaves else kinds)


def damaged(value: typing.Any, inventor: Inventor) -> typing.Any:
    """A good document with a few parts exchanged for others of the algebra."""
    rng = inventor.rng
    if isinstance(value, dict):
        if "op" in value and rng.random() < 0.05:
            return inventor.node(rng.choice(NODES), 2)
        return {name: damaged(item, inventor) for name, item in value.items() if rng.random() > 0.005}
    if isinstance(value, list | tuple):
        return [damaged(item, inventor) for item in value for _ in range(1 + (rng.random() < 0.01))]
    return inventor.value(type(value), 1) if rng.random() < 0.03 else value


def before_the_charge(document: typing.Any) -> str:
    """Run what runs without data; return how far the document came."""
    reached = "refused"
    try:
        plan = codec.decode(document)
        reached = "decoded"
        analysis = analyse(plan, CARDS)
        reached = "analysed"
        price(analysis, rational(plan.rho))
        compile_plan(analysis, {name: f"t{place}" for place, name in enumerate(CARDS)})
        reached = "compiled"
    except CloisterError as error:
        assert error.code and error.reason
    return reached


@pytest.mark.timeout(7200)
def test_no_document_breaks_the_gate_before_the_charge(record_property):
    """No other exception, no document that takes long or much memory."""
    inventor = Inventor(random.Random(2026))
    good = [codec.encode(plan) for shape in SHAPES.values() for plan in list(plans(shape))[:2]]
    reached: dict[str, int] = {}
    slowest = 0.0
    for number in range(PLANS):
        document = inventor.plan() if number % 2 else damaged(inventor.rng.choice(good), inventor)
        begin = time.process_time()
        outcome = before_the_charge(document if number % 4 else spelled(document))
        slowest = max(slowest, time.process_time() - begin)
        reached[outcome] = reached.get(outcome, 0) + 1
    record_property("documents", PLANS)
    assert reached.get("compiled", 0) > PLANS / 50, reached
    assert reached.get("refused", 0) > PLANS / 50, reached
    assert slowest < 30, "seconds of processor time for one document"


def spelled(document: typing.Any) -> bytes:
    return json.dumps(document).encode()


def test_the_largest_documents_are_bounded_in_memory():
    """Depth, width and size at and beyond the caps of the decoder."""
    deep: typing.Any = {"op": "col", "name": "x"}
    for _ in range(5000):
        deep = {"op": "negate", "term": deep}
    wide = {"op": "and", "terms": [{"op": "boolean", "value": True}] * 100_000}
    tracemalloc.start()
    for term in (deep, wide, {"op": "text", "value": "x" * 10**6}):
        source = {"op": "filter", "source": {"op": "table", "name": CLINIC}, "where": term}
        document = {"op": "vector_sum", "source": source, "measures": [{"op": "count", "name": "n"}], "rho": "1/10"}
        assert before_the_charge(document) == "refused"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20
    bomb = b"[" * 10**6
    with pytest.raises(CloisterError):
        codec.decode(bomb)


def test_every_node_takes_part():
    """The generator makes each node of the algebra, relations, scalars, measures and plans alike."""
    inventor, seen = Inventor(random.Random(1)), set()

    def note(value: typing.Any) -> None:
        if isinstance(value, dict):
            seen.add(value.get("op"))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            note(item)

    wanted = {kind.__struct_config__.tag for kind in NODES}
    for _ in range(3000):
        if wanted <= seen:
            break
        note(inventor.plan())
    assert wanted <= seen
    assert Fraction(1, 100) == rational("1/100")
