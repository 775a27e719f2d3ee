"""Small studies, one per simulation, in one table behind the real engine, price, noise and shape.

A simulation asks about its own rows, ``frame[frame.study == i]``: as if each study were a table of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import sandbox_world as world

import cloister.sandbox as cl
from cloister.contract.card import Card, Column
from cloister.sandbox.session import Session
from cloister.vault import describe
from cloister.vault.engine import Engine
from cloister.vault.question import prepare
from cloister.vault.sampler import Teaching

COLOURS, SHAPES = ("red", "green", "blue"), ("round", "square")
STUDY = Card(
    name="bank.customers",
    title="A study",
    description="Invented.",
    unit="customer",
    key=("customer_id",),
    normaliser="exact",
    population="bank.customers",
    rows_per_unit=1,
    row_limit=524_288,
    grade="demonstration",
    columns=(
        Column("customer_id", "int", 2, "Person", low="1", high="999999", step="1"),
        Column("study", "int", 2, "Which study", low="0", high="1999", step="1"),
        Column("colour", "string", 2, "Colour", domain=COLOURS),
        Column("shape", "string", 2, "Shape", domain=SHAPES),
        Column("member", "bool", 2, "Member"),
        Column("x", "int", 2, "A number", low="0", high="100", step="1"),
        Column("w", "int", 2, "Another", low="0", high="100", step="1"),
        Column("y", "decimal", 2, "A result", low="0", high="200", step="0.1"),
    ),
    source="mock",
    retention="none",
    purposes=("teaching",),
)


def draw(rng: np.random.Generator, n: int, effect: float = 0.0) -> pd.DataFrame:
    """Return rows of ``n`` persons; with ``effect`` 0 nothing depends on anything else but y on x."""
    colour = rng.choice(COLOURS, n, p=[0.5, 0.3, 0.2])
    member = rng.random(n) < 0.4 + effect * 0.3 * (colour == "red")
    x = rng.normal(50 + 20 * effect * member, 18, n).round().clip(0, 100).astype(int)
    w = rng.integers(0, 101, n)
    y = (60 + 0.6 * x + rng.normal(0, 15, n)).round(1).clip(0, 200)
    shape = rng.choice(SHAPES, n)
    columns = {"study": np.zeros(n, int), "colour": colour, "shape": shape, "member": member, "x": x, "w": w, "y": y}
    return pd.DataFrame({"customer_id": np.arange(1, n + 1), **columns})


def draws(count: int, n: int, seed: int) -> pd.DataFrame:
    """Return ``count`` studies of ``n`` persons without an effect, numbered."""
    rows = draw(np.random.default_rng(seed), count * n)
    return rows.assign(study=np.arange(count * n) // n)


class Study(world.Vault):
    """Holds one draw at a time; ``noise=False`` gives the exact integers."""

    def __init__(self, *, noise: bool, seed: int = 0) -> None:
        super().__init__(noise=noise, mode="confidential", epsilon="100" if noise else "1000")
        self.terms = msgspec.structs.replace(self.terms, cards={**self.terms.cards, STUDY.name: STUDY})
        self._sampler = Teaching(seed)

    def hold(self, rows: pd.DataFrame) -> None:
        """Replace the rows, and forget what was answered."""
        schema = {"int": pa.int64(), "string": pa.string(), "bool": pa.bool_(), "decimal": pa.float64()}
        fields = pa.schema([(column.name, schema[column.type]) for column in STUDY.columns])
        self._engine = Engine(1)
        self._engine.load(STUDY.name, STUDY, pa.Table.from_pandas(rows, fields, preserve_index=False), bytes(32))

    def _release(self, plan: Any) -> dict[str, Any]:
        question = prepare(plan, self.context, self.terms)
        assert self._engine is not None
        values = list(self._engine.run(question.analysis).values)
        if self.noise:
            values = self._noisy(question, values)
        return describe.rehearsal(question, values, self.terms)

    def _noisy(self, question: Any, values: list[int]) -> list[int]:
        widths = [part.width for part in question.analysis.layout.components]
        row = [sigma for sigma, width in zip(question.price.sigmas, widths, strict=True) for _ in range(width)]
        if len(set(row)) == 1:
            return list(self._sampler.add(values, row[0]))
        return [self._sampler.add([value], row[at % len(row)])[0] for at, value in enumerate(values)]


def study(**options: Any) -> tuple[cl.Frame, Study]:
    """Return the handle of a study and its vault."""
    vault = Study(**options)
    return cl.Frame.of_table(Session(vault), STUDY.name), vault


__all__ = ["STUDY", "Study", "draw", "study"]
