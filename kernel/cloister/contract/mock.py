"""Mock rows, made from the data card alone: names, types, bounds and domains, and no data.

The spread is plausible (numbers lean to the middle of their bounds, categories differ in frequency, units have 1 to
``rows_per_unit`` rows), and it is the same for the same card, size and seed on every machine.
"""

from __future__ import annotations

import datetime
import random
from fractions import Fraction
from typing import Any

from cloister.contract.card import Card, Column

_NULL_RATE = 0.05


def rows(card: Card, n: int, seed: int) -> dict[str, list[Any]]:
    """Return ``n`` mock rows as columns of plain Python values (int, float, str, bool, date or None).

    Rows of one unit stand together; only nullable columns hold None.
    """
    rng = random.Random(f"cloister/mock/v1 {card.name} {seed}")  # noqa: S311 (mock values need no secrecy)
    units: list[int] = []
    unit = 0
    while len(units) < n:
        unit += 1
        units.extend([unit] * min(rng.randint(1, max(1, card.rows_per_unit)), n - len(units)))
    return {
        column.name: _key(card, column, units) if card.identifies(column.name) else _values(column, n, rng)
        for column in card.columns
    }


def _key(card: Card, column: Column, units: list[int]) -> list[Any]:
    if card.salt_id:
        return [f"{unit:032x}" for unit in units]
    if column.type in ("int", "decimal"):
        return list(units)
    if column.type == "date":
        return [datetime.date(1900, 1, 1) + datetime.timedelta(days=unit) for unit in units]
    return [f"mock-{unit:06d}" for unit in units]


def _values(column: Column, n: int, rng: random.Random) -> list[Any]:
    draw = _drawer(column, rng)
    return [None if column.nullable and rng.random() < _NULL_RATE else draw() for _ in range(n)]


def _drawer(column: Column, rng: random.Random) -> Any:
    if column.type == "bool":
        rate = rng.uniform(0.2, 0.8)
        return lambda: rng.random() < rate
    if column.type == "string":
        if not column.domain:
            return lambda: f"text-{rng.randrange(10**6):06d}"
        weights = [rng.uniform(0.5, 1.5) for _ in column.domain]
        return lambda: rng.choices(column.domain or (), weights)[0]
    if column.type == "date":
        first = datetime.date.fromisoformat(column.low or "2000-01-01")
        last = datetime.date.fromisoformat(column.high or "2030-01-01")
        return lambda: first + datetime.timedelta(days=rng.randint(0, (last - first).days))
    low = Fraction(column.low or "0")
    step = Fraction(column.step or "1")
    points = int((Fraction(column.high or "100") - low) / step)

    def number() -> int | float:
        # The mean of two uniform draws leans to the middle without leaving the bounds.
        value = low + step * ((rng.randint(0, points) + rng.randint(0, points)) // 2)
        return int(value) if column.type == "int" else float(value)

    return number
