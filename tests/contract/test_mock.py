"""Mock rows: from the card alone, inside its bounds, always the same."""

from __future__ import annotations

import datetime
from collections import Counter

from cloister.contract.card import Card, Column
from cloister.contract.mock import rows

CARD = Card(
    "t", "T", "", "patient", ("id",), "exact", "people", 3, 1000, "demonstration",
    (
        Column("id", "string", 3, ""),
        Column("age", "int", 1, "", low="18", high="20", step="1"),
        Column("bmi", "decimal", 1, "", nullable=True, low="10", high="11.5", step="0.5"),
        Column("sex", "string", 1, "", domain=("F", "M")),
        Column("seen", "date", 1, "", low="2024-01-01", high="2024-01-03"),
        Column("ok", "bool", 1, ""),
        Column("note", "string", 1, ""),
    ),
    "s", "r", ("testing",),
)  # fmt: skip


def test_the_same_card_size_and_seed_give_the_same_rows():
    assert rows(CARD, 50, 1) == rows(CARD, 50, 1)
    assert rows(CARD, 50, 1) != rows(CARD, 50, 2)
    assert all(len(column) == 50 for column in rows(CARD, 50, 1).values())
    assert list(rows(CARD, 0, 1)) == [column.name for column in CARD.columns]


def test_every_value_keeps_the_card():
    found = rows(CARD, 400, 3)
    assert set(found["age"]) <= {18, 19, 20}
    assert set(found["bmi"]) <= {None, 10.0, 10.5, 11.0, 11.5}
    assert None in found["bmi"]
    assert set(found["sex"]) == {"F", "M"}
    assert set(found["seen"]) <= {datetime.date(2024, 1, day) for day in (1, 2, 3)}
    assert set(found["ok"]) == {True, False}
    assert set(Counter(found["id"]).values()) <= {1, 2, 3}
    assert len(set(Counter(found["id"]).values())) > 1
