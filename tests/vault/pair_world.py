"""Two providers of one kind of unit, each with a broker of its own, and questions that both have to sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from vault_world import BrokerProcess, World, visits_card

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.plan import codec

CLAIMS, PATIENTS = "bank.claims", 200


def claims_card() -> Card:
    """Return the card of the second provider's table, about the same patients."""
    return msgspec.structs.replace(
        visits_card(),
        name=CLAIMS,
        population="bank.patients",
        rows_per_unit=1,
        columns=(Column("patient", "string", 2, "Patient"), Column("paid", "int", 2, "Paid", low="0", high="100",
                                                                   step="1")),
    )  # fmt: skip


def claims() -> pa.Table:
    """Return one claim of 5 for each of the first patients."""
    return pa.table({"patient": [f"p{i:04d}" for i in range(PATIENTS)], "paid": [5] * PATIENTS})


def pair(root: Path, **more: Any) -> World:
    """Return the world."""
    return World(root, second=(claims_card(), claims()), **more)


def both(number: int, rho: str = "1/100") -> dict[str, Any]:
    """Return one of many questions about the visits of patients with claims."""
    joined = a.Align(a.Table("st_anna.visits"), a.Table(CLAIMS), "inner", (("paid", "paid"),))
    chosen = a.Filter(joined, a.Compare("ge", a.Col("age"), a.Number(str(number))))
    return codec.encode(a.VectorSum(chosen, (a.Count("n"),), rho))


def accounts(world: World) -> tuple[tuple[BrokerProcess, str], ...]:
    """Return broker and population of each account."""
    return (world.anna_broker, world.card.population), (world.bank_broker, world.bank_card.population)
