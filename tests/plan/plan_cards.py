"""A small card and shorthands for the plan tests."""

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a

TABLE = "clinic.visits"
CARD = Card(
    "visits", "Visits", "", "patient", ("id",), "exact", "people", 6, 200_000, "demonstration",
    (
        Column("id", "string", 3, "key", personal=True),
        Column("age", "int", 2, "", low="0", high="110", step="1"),
        Column("bmi", "decimal", 3, "", nullable=True, low="10", high="70", step="0.1"),
        Column("shift", "decimal", 1, "", low="0.5", high="2.5", step="1"),
        Column("cost", "decimal", 4, "", low="-100", high="50000", step="0.01"),
        Column("sex", "string", 2, "", domain=("F", "M")),
        Column("seen", "date", 2, "", low="2024-01-01", high="2024-01-31", nullable=True),
        Column("smoker", "bool", 3, "", nullable=True),
        Column("note", "string", 5, ""),
        Column("raw", "decimal", 1, ""),
    ),
    "generated", "none", ("testing",),
)  # fmt: skip
CARDS = {TABLE: CARD}
VISITS = a.Table(TABLE)


def ask(*measures, source=VISITS, keys=(), rho="1/100"):
    return a.VectorSum(source, measures or (a.Count("n"),), rho, tuple(keys))
