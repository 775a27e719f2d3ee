"""A contract with a column of every tier, approvers and exits, for the tests of access, approvals and packs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, get_args

import msgspec
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from vault_world import PURPOSE, World, context, plan, visits_card

from cloister.contract import approvals, packs, signing
from cloister.contract.approvals import Approval, Operation
from cloister.contract.card import Card, Column, Labels
from cloister.contract.clauses import Approver, PackTerms
from cloister.contract.exits import DeliverTerms, Exits, MatchTerms, Receiver
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.vault import exits, question
from cloister.vault.config import Terms, open_config
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

TABLE = "st_anna.visits"
TIERS = range(1, 6)
FIRST, SECOND, THIRD = (SigningKey.generate() for _ in range(3))
BUREAU = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
APPROVERS = tuple(
    Approver(name, key.did, "st_anna") for name, key in (("carla", FIRST), ("dan", SECOND), ("eve", THIRD))
)


VISITS_PURPOSES = (PURPOSE, "audit")


def card(*, scheme: str = "", importance: str | None = None, tiers: range = TIERS) -> Card:
    """Return the visits with a number ``x<n>`` and a boolean ``b<n>`` of each tier."""
    columns = [Column("patient", "string", 1, "Patient")]
    for tier in tiers:
        columns.append(Column(f"x{tier}", "int", tier, "A number", low="0", high="10", step="1"))  # type: ignore[arg-type]
        columns.append(Column(f"b{tier}", "bool", tier, "A boolean"))  # type: ignore[arg-type]
    labels = Labels(scheme, importance) if scheme or importance else msgspec.UNSET  # type: ignore[arg-type]
    return visits_card(columns=tuple(columns), labels=labels, purposes=VISITS_PURPOSES)


def rows(tiers: range = TIERS) -> pa.Table:
    """Return four patients; ``x`` is their number."""
    data: dict[str, Any] = {"patient": [f"p{n}" for n in range(4)]}
    for tier in tiers:
        data |= {f"x{tier}": list(range(4)), f"b{tier}": [n % 2 == 0 for n in range(4)]}
    return pa.table(data)


def make_world(root: Path, **of_card: Any) -> World:
    """Return a world without processes, of this table."""
    return World(root, card=card(**of_card), data=rows(of_card.get("tiers", TIERS)), serve=False)


def delivery(tier: int) -> a.Deliver:
    """Return a delivery of the number of a tier."""
    source = a.PerUnit(a.Table(TABLE), (a.UnitMeasure("x", "max", a.Col(f"x{tier}")),))
    return a.Deliver(source, a.Col("x"), "1", "bureau")


def contract_terms(world: World, pack: str = "", **changes: Any) -> dict[str, Any]:
    """Return the clauses of a contract with approvers, a match and a delivery for every tier."""
    tiers = [int(column.name[1:]) for column in world.card.columns if column.name.startswith("x")]
    allowed = Exits(
        (Receiver("bureau", BUREAU),),
        tuple(MatchTerms(TABLE, f"b{tier}", 100, 100) for tier in tiers),
        tuple(DeliverTerms(codec.exit_digest(delivery(tier)), "bureau", 9) for tier in tiers),
    )
    named = PackTerms(pack, packs.load(pack).digest) if pack else msgspec.UNSET
    mine = world.contract()
    alone = {"tables": mine.tables[:1], "budgets": mine.budgets[:1]}
    return {"approvers": APPROVERS, "exits": allowed, "pack": named, **alone, **changes}


def document_of(world: World, pack: str = "", **changes: Any) -> Envelope:
    """Return such a contract, signed and registered."""
    return world.sign(world.contract(**contract_terms(world, pack, **changes)))


def approval(world: World, document: Envelope, tier: int, **changes: Any) -> Approval:
    """Return a request that says everything a pack may ask for."""
    asked = Approval(
        contract=signing.contract_digest(document),
        analyst=world.analyst.did,
        table=TABLE,
        columns=(f"x{tier}", f"b{tier}"),
        operations=get_args(Operation),
        purpose=PURPOSE,
        necessity="a thesis",
        measures="noise; a room of its own",
        lowers_to=2,
        nda="sha256:" + "4" * 64,
        not_before="2026-01-01T00:00:00Z",
        not_after="2026-01-31T00:00:00Z",
    )
    return msgspec.structs.replace(asked, **changes)


def signed(
    world: World, document: Envelope, asked: Approval, *keys: SigningKey, asker: SigningKey | None = None
) -> Envelope:
    """Return a request signed by its analyst and these approvers."""
    terms = signing.read_unverified(document)
    found = approvals.request(asked, terms, asker or world.analyst)
    for key in keys:
        found = approvals.approve(found, terms, key)
    return found


def terms_of(world: World, document: Envelope, *approved: Envelope) -> Terms:
    """Return what a vault works under."""
    config = world.config(document, approvals=[msgspec.to_builtins(one) for one in approved])
    return open_config(canonical.encode(config))


def ask(world: World, terms: Terms, operation: str, tier: int, **changes: Any) -> Any:
    """Ask a vault's public part (what needs no data) for an operation on the column of a tier."""
    asker = context(world, **changes)
    if operation == "match":
        return exits.allow(a.Match(TABLE, f"b{tier}", ("p1",)), asker, terms)
    if operation == "deliver":
        return exits.allow(delivery(tier), asker, terms)
    if operation == "model":
        number = a.Col(f"x{tier}")
        fit = a.Fit(a.Table(TABLE), (a.Number("1"), number), a.Col("b1"), a.Logistic(steps=1), "1/20")
        return question.prepare(codec.encode(fit), asker, terms)
    return question.prepare(plan(a.Mean("m", a.Col(f"x{tier}")), rho="1/100"), asker, terms)
