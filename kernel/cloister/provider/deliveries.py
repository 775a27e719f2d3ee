"""Counts of the exit *deliver*: how many deliveries were made under a clause, as the entries of the log say.

Deliveries are few, so nothing is kept beside the log: a restored database counts what its entries hold.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from cloister.contract.exits import Exits
from cloister.provider import schema
from cloister.receipt.ledger import Entry

TOO_MANY = "limit.deliver"


def refusal(db: sa.Connection, entry: Entry, exits: Exits) -> str:
    """Return why one more delivery may not be made under the entry's clause, or ``""``.

    A delivery that charges several accounts is one: it is counted by its charge id.
    """
    if entry.exits is None or entry.exits.name != "deliver":
        return ""
    clause, made = entry.exits.clause, {entry.charge_id}
    for body in db.scalars(schema.SELECT_EXITS):
        other = msgspec.json.decode(body, type=Entry)
        if other.contract == entry.contract and other.exits is not None and other.exits.name == "deliver":
            made |= {other.charge_id} if other.exits.clause == clause else set()
    return TOO_MANY if len(made) > exits.deliveries[clause].times else ""
