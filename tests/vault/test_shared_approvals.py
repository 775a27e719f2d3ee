"""Releases that analysts share and that rest on approvals at two brokers: each of the brokers is asked."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import permit_world
import pyarrow as pa
import pytest
import vault_world
from mutants import mutated
from permit_world import APPROVERS, FIRST, SECOND, TABLE
from vault_world import World, context

from cloister.contract.card import Card, Column
from cloister.contract.clauses import Approver
from cloister.errors import ContractError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Request
from cloister.provider.approvals import Withdrawal
from cloister.vault import charge
from cloister.vault.confidential import ConfidentialVault
from cloister.wire.identity import SigningKey

CLAIMS = "bank.claims"
THEIRS = tuple(SigningKey.generate() for _ in range(2))
JOINED = a.Align(a.Table(TABLE), a.Table(CLAIMS), "inner", (("paid", "paid"),))
ASKED = codec.encode(a.VectorSum(JOINED, (a.Mean("paid", a.Col("paid")), a.Mean("x", a.Col("x4"))), "1/100"))


def claims_card() -> Card:
    return msgspec.structs.replace(
        vault_world.visits_card(),
        name=CLAIMS,
        population="bank.patients",
        rows_per_unit=1,
        columns=(
            Column("patient", "string", 1, "Patient"),
            Column("paid", "int", 4, "Paid", low="0", high="10", step="1"),
        ),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault_world, "customers_card", claims_card)
        patch.setattr(vault_world, "customers", lambda: pa.table({"patient": ["p0", "p1"], "paid": [5, 6]}))
        yield permit_world.make_world(tmp_path_factory.mktemp("shared"))


def asked_at_both_brokers(world: World) -> None:
    own = tuple(Approver(name, key.did, "bank") for name, key in zip(("fay", "gus"), THEIRS, strict=True))
    document = world.sign(world.contract(approvers=(*APPROVERS, *own), share_releases=True))
    known = permit_world.terms_of(world, document)
    homes = {TABLE: world.anna_home, CLAIMS: world.bank_home}
    files, held = [], {}
    for key in (world.analyst, world.other_analyst):
        for table, columns, signers in ((TABLE, ("x4",), (FIRST, SECOND)), (CLAIMS, ("paid",), THEIRS)):
            asked = permit_world.approval(
                world, document, 4, analyst=key.did, table=table, columns=columns,
                not_before="2020-01-01T00:00:00Z", not_after="2098-01-01T00:00:00Z",
            )  # fmt: skip
            approved = permit_world.signed(world, document, asked, *signers, asker=key)
            files.append(msgspec.to_builtins(approved))
            held[key.did, table] = homes[table].approvals.add(approved, known.contract, known.digest)
    state, _ = world.state(document, approvals=files)

    def ask(analyst: str) -> bool:
        asker = context(world, analyst=analyst)
        return ConfidentialVault(state).operations()["release"](asker, Request(1, "release", ASKED)).result["recalled"]

    ada, bob = world.analyst.did, world.other_analyst.did
    assert not ask(ada)
    assert ask(bob)
    second = max(known.contract.brokers, key=lambda one: one.did)
    table = next(name for name in homes if known.broker_of(name) == second)
    homes[table].approvals.withdraw(held[bob, table], Withdrawal("2026-01-01T00:00:00Z"))
    try:
        ask(bob)
    except ContractError as refused:
        assert refused.code == "approval.withdrawn"
    else:
        raise AssertionError("shown though his approval at the second broker was withdrawn")
    homes[table].approvals.withdraw(held[ada, table], Withdrawal("2026-01-01T00:00:00Z"))
    state, _ = world.state(document, approvals=files)
    assert ask(ada), "whoever was charged keeps it, also from a vault that was restarted"


def test_every_broker_is_asked_of_another_analysts_approvals(world: World) -> None:
    asked_at_both_brokers(world)
    with (
        mutated(charge, "if named := _approvals(question, account, terms):", "if False:"),
        pytest.raises(AssertionError),
    ):
        asked_at_both_brokers(world)
