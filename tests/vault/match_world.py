"""A world whose first provider has a watch list: who is on it, who is flagged and why, all of high tier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from vault_world import PURPOSE, DirectTransport, World, context

from cloister.contract.card import Card, Column
from cloister.contract.exits import Exits, MatchTerms
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Context
from cloister.vault.exits import leave
from cloister.vault.recall import Answer
from cloister.vault.state import VaultState

TABLE = "st_anna.watched"
LISTED = 200
NAME = "N{:012d}"
CLAUSES = (
    MatchTerms(TABLE, "person", 1000, 30),
    MatchTerms(TABLE, "flagged", 1000, 30),
    MatchTerms(TABLE, "category", 1000, 30, value="fraud"),
)


def watched_card(**changes: Any) -> Card:
    """Return the card: the key and both columns are of tiers of which no aggregate leaves."""
    card = Card(
        name=TABLE,
        title="Watched",
        description="Persons somebody watches.",
        unit="person",
        key=("person",),
        normaliser="ascii-lower-strip",
        population="st_anna.persons",
        rows_per_unit=2,
        row_limit=512,
        grade="demonstration",
        columns=(
            Column("person", "string", 5, "National number"),
            Column("flagged", "bool", 5, "Flagged", nullable=True),
            Column("category", "string", 4, "Why", domain=("debt", "fraud"), nullable=True),
            Column("year", "int", 2, "Since", low="2000", high="2030", step="1"),
        ),
        source="tests",
        retention="none",
        purposes=(PURPOSE,),
    )
    return msgspec.structs.replace(card, **changes)


def watched() -> pa.Table:
    """Return the list: two rows a person; the second row of every third flags, of every fifth says fraud."""
    rows = [(number, row) for number in range(LISTED) for row in (0, 1)]
    return pa.table(
        {
            "person": [NAME.format(number) for number, _ in rows],
            "flagged": [bool(row and number % 3 == 0) if number % 7 else None for number, row in rows],
            "category": [
                "fraud" if row and number % 5 == 0 else "debt" if number % 2 else None for number, row in rows
            ],
            "year": [2020] * len(rows),
        }
    )


def listed(number: int) -> bool:
    """Whether the person of that number is on the list."""
    return number < LISTED


def flagged(number: int) -> bool:
    """Whether the person of that number is flagged."""
    return listed(number) and number % 3 == 0 and number % 7 != 0


def fraud(number: int) -> bool:
    """Whether the person of that number is listed for fraud."""
    return listed(number) and number % 5 == 0


def make_world(root: Path, **more: Any) -> World:
    """Return the world."""
    return World(root, card=watched_card(), data=watched(), serve=False, **more)


def contract(world: World, *clauses: MatchTerms, **changes: Any) -> Any:
    """Return a signed contract with these match clauses (all of them, if none is given)."""
    return world.sign(world.contract(exits=Exits(matches=clauses or CLAUSES), **changes))


def vault(world: World, *clauses: MatchTerms, **changes: Any) -> tuple[VaultState, DirectTransport, Any]:
    """Return a vault under a fresh contract, its transport and the contract."""
    document = contract(world, *clauses, **changes)
    state, transport = world.state(document)
    return state, transport, document


class Found(NamedTuple):
    """What came back: the answers, the salt that opens the commitment, and the settled receipt."""

    answers: tuple[bool, ...]
    salt: bytes
    settled: Answer


def match(state: VaultState, who: Context, document: dict[str, Any]) -> Found:
    """Ask a vault."""
    left = leave(state, who, document)
    return Found(tuple(letter == "1" for letter in left.result["answers"]), left.asked.salt, left.answer)


def inquiry(*keys: str, column: str = "person", table: str = TABLE) -> dict[str, Any]:
    """Return a match on the wire."""
    return msgspec.to_builtins(a.Match(table, column, keys))


def ask(state: VaultState, world: World, *keys: str, column: str = "person", analyst: str = "") -> Found:
    """Ask a vault about these keys."""
    who = context(world) if not analyst else msgspec.structs.replace(context(world), analyst=analyst)
    return match(state, who, inquiry(*keys, column=column))


def bits(state: VaultState, world: World, *keys: str, column: str = "person") -> tuple[bool, ...]:
    """Return the answers to these keys."""
    return ask(state, world, *keys, column=column).answers


assert codec.is_exit(inquiry("x"))
