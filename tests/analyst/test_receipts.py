"""The receipt book shows and keeps what verifies, and nothing else."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from signed_world import MEAN_BY_SEX, Story, World, code_cell, result

from cloister.analyst.bundling import bundle_notebook
from cloister.analyst.receipts import ReceiptBook, load_session, stored_sessions
from cloister.errors import CloisterError, MalformedError, RefusedError, TrustError, UnavailableError
from cloister.plan import algebra
from cloister.receipt import chain, chip
from cloister.receipt.bundle import Exchange
from cloister.reviewer.report import SIMULATED
from cloister.reviewer.verify import verify
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey


def book(world: World, directory: Path, *, session: str = "", **changes: Any) -> ReceiptBook:
    options: dict[str, Any] = {
        "cards": [world.card], "analyst": world.analyst.did, "evidence": world.exchange(session=session),
    }  # fmt: skip
    return ReceiptBook(world.contract, world.vault.did, session or world.session, directory, **{**options, **changes})


def builtins(document: Envelope) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return made


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def admitted(world: World, tmp_path: Path) -> ReceiptBook:
    made = book(world, tmp_path)
    made.admit(builtins(world.admission))
    return made


def refusal(made: ReceiptBook, document: Envelope) -> str:
    with pytest.raises(CloisterError) as caught:
        made.accept(builtins(document), "m1")
    return caught.value.code


def test_a_receipt_becomes_facts(world: World, admitted: ReceiptBook) -> None:
    facts = admitted.accept(builtins(world.sign(world.receipt("v.count()", (1003,)))), "m1")
    assert facts.question == "clinic.visits: count"
    assert (facts.rows[0].values, facts.rows[0].errors) == (("1003.0",), ("4.0",))
    assert (facts.assurance, facts.recalled, facts.cells) == ("simulated", False, 1)
    assert facts.costs[0].population == "clinic.patients"
    assert facts.costs[0].share.endswith("%")
    assert float(facts.costs[0].epsilon) > 0


def test_groups_have_one_row_each_with_doubt_where_it_belongs(world: World, admitted: ReceiptBook) -> None:
    raw = (-190 * 500, 500, -170 * 500, 500, 0, 0)
    facts = admitted.accept(builtins(world.sign(world.receipt("x", raw, MEAN_BY_SEX))), "m1")
    assert [row.cell for row in facts.rows] == [("female",), ("male",), ("(other)",)]
    assert [row.unreliable for row in facts.rows] == [(False,), (False,), (True,)]
    assert facts.rows[0].values == ("25.500",)


def test_files_are_private_and_complete(world: World, admitted: ReceiptBook, tmp_path: Path) -> None:
    receipt = world.sign(world.receipt("v.count()", (1003,)))
    admitted.accept(builtins(receipt), "m1")
    folder = tmp_path / world.session
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    stored = load_session(tmp_path, world.session)
    assert [kept.receipt for kept in stored.receipts] == [receipt]
    assert stored.receipts[0].parent == "m1"
    assert len(stored.evidence) == len(stored.admissions) == len(stored.cards) == 1
    assert stored_sessions(tmp_path) == (world.session,)


def test_forged_receipts_are_neither_shown_nor_stored(world: World, admitted: ReceiptBook, tmp_path: Path) -> None:
    receipt = world.receipt("v.count()", (1003,))
    assert refusal(admitted, world.sign(receipt, SigningKey.generate())) == "receipt.forged"
    assert refusal(admitted, Story().world.sign(receipt)) == "receipt.forged"
    assert load_session(tmp_path, world.session).receipts == ()


def test_a_receipt_before_its_admission(world: World, tmp_path: Path) -> None:
    made = book(world, tmp_path)
    assert refusal(made, world.sign(world.receipt("x", (1,)))) == "receipt.admission"


def test_forged_admissions(world: World, tmp_path: Path) -> None:
    made = book(world, tmp_path)
    own = SigningKey.generate()
    for document, code in (
        (world.admit(signer=own), "admission.forged"),
        (world.admit(signer=own, broker=own.did), "admission.broker"),
        (world.admit(contract="sha256:" + "0" * 64), "admission.contract"),
    ):
        with pytest.raises(TrustError) as caught:
            made.admit(builtins(document))
        assert caught.value.code == code
    with pytest.raises(MalformedError):
        made.admit({"payload": 1})


def test_another_vault_than_the_attested_one(world: World, tmp_path: Path) -> None:
    """A broker admitted it, but it is not the vault this machine attested for this session."""
    attested, other = world.vault, SigningKey.generate()
    made = book(world, tmp_path)
    world.vault = other
    admission = world.admit()
    made.admit(builtins(admission))
    receipt = world.receipt("x", (1,), admissions=(chain.admission_digest(admission),))
    assert refusal(made, world.sign(receipt, other)) == "receipt.vault"
    seen = Exchange(hello="aGVsbG8=", offer="b2ZmZXI=")
    made.renew(other.did, seen)
    assert seen in load_session(tmp_path, world.session).evidence
    assert made.accept(builtins(world.sign(receipt, other)), "m1").recalled is False
    assert attested.did != other.did


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contract": "sha256:" + "0" * 64}, "receipt.contract"),
        ({"purpose": "marketing"}, "receipt.party"),
        ({"plan_digest": "sha256:" + "0" * 64}, "receipt.plan"),
        ({"charge_id": "sha256:" + "0" * 64}, "receipt.names"),
        ({"charges": ()}, "receipt.charge"),
        ({"rho": "1/3"}, "receipt.rho"),
        ({"raw": ("1", "2")}, "receipt.shape"),
        ({"time": "2030-01-01T00:00:00Z"}, "receipt.validity"),
    ],
)
def test_a_lying_vault(world: World, admitted: ReceiptBook, changes: dict[str, Any], code: str) -> None:
    lie = msgspec.structs.replace(world.receipt("x", (1,)), **changes)
    assert refusal(admitted, world.sign(lie)) == code


def test_a_receipt_of_another_session_is_a_recall(world: World, admitted: ReceiptBook) -> None:
    earlier = world.sign(world.receipt("x", (1003,), session="session-0"))
    facts = admitted.accept(builtins(earlier), "m1")
    assert (facts.recalled, facts.session) == (True, "session-1")


def test_the_same_release_twice_is_kept_once_and_free(world: World, admitted: ReceiptBook, tmp_path: Path) -> None:
    document = builtins(world.sign(world.receipt("x", (1003,))))
    assert [admitted.accept(document, name).recalled for name in ("m1", "m2")] == [False, True]
    assert len(load_session(tmp_path, world.session).receipts) == 1


def test_another_analysts_release_needs_a_contract_that_shares(tmp_path: Path) -> None:
    for share, expected in ((False, "receipt.analyst"), (True, "")):
        world = World(share_releases=share)
        made = book(world, tmp_path / str(share), analyst=SigningKey.generate().did)
        made.admit(builtins(world.admission))
        document = world.sign(world.receipt("x", (1003,), session="session-0"))
        if expected:
            assert refusal(made, document) == expected
        else:
            assert made.accept(builtins(document), "m1").recalled


def test_contract_and_cards_are_checked_at_the_start(world: World, tmp_path: Path) -> None:
    with pytest.raises(CloisterError):
        book(world, tmp_path, cards=[])
    unsigned = msgspec.structs.replace(world.contract, signatures=())
    with pytest.raises(CloisterError):
        ReceiptBook(unsigned, world.vault.did, "s", tmp_path, cards=[world.card], analyst=world.analyst.did)


@pytest.mark.parametrize("session", ["../x", "", "a/b", "x" * 200, "a\0"])
def test_a_session_id_never_names_a_path(world: World, tmp_path: Path, session: str) -> None:
    with pytest.raises(MalformedError):
        ReceiptBook(world.contract, world.vault.did, session, tmp_path, cards=[world.card], analyst="x")


def test_a_store_that_cannot_be_written_is_said(world: World, tmp_path: Path) -> None:
    made = book(world, tmp_path)
    made.admit(builtins(world.admission))
    (tmp_path / world.session / "receipts.jsonl").mkdir()
    with pytest.raises(UnavailableError) as caught:
        made.accept(builtins(world.sign(world.receipt("x", (1,)))), "m1")
    assert caught.value.code == "receipt.store"


def test_a_store_that_was_altered_is_said(world: World, admitted: ReceiptBook, tmp_path: Path) -> None:
    (tmp_path / world.session / "receipts.jsonl").write_text("{}\n")
    with pytest.raises(MalformedError):
        load_session(tmp_path, world.session)
    with pytest.raises(RefusedError):
        load_session(tmp_path, "unknown")


def test_from_the_channel_to_the_reviewer(tmp_path: Path) -> None:
    """What a session leaves in the store is all a reviewer needs, also for what it recalled from an earlier one."""
    story = Story()
    world = story.world
    first = book(world, tmp_path)
    first.admit(builtins(world.admission))
    for receipt in (story.count, story.means):
        first.accept(builtins(world.sign(receipt)), "m")

    # The next day: another vault, another session, the same question.
    vault, world.vault = world.vault, SigningKey.generate()
    second = book(world, tmp_path, session="session-2")
    second.admit(builtins(world.admission))
    document = builtins(world.sign(story.count, vault))
    facts = second.accept(document, "m")
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        code_cell("import cloister as cl\nv = cl.table('clinic.visits')"),
        code_cell("v.count()", result("1003"), world.chip(facts)),
    ]}  # fmt: skip
    report = verify(bundle_notebook(notebook, tmp_path))
    assert report.overall == SIMULATED
    assert set(report.reservations) == {"simulated", "origin unknown"}
    assert "reproducible" in report.run


def test_a_model_release_has_no_table_but_a_price(world: World, admitted: ReceiptBook) -> None:
    gram = ((algebra.Gram("model", (algebra.Col("bmi"),)),), ())
    facts = admitted.accept(builtins(world.sign(world.receipt("x", (100, -3, 40), gram))), "m1")
    assert facts.question == "clinic.visits: gram of 1 terms"
    assert (facts.rows, facts.cells) == ((), 1)
    data, _ = chip.display([facts])
    assert facts.question in data["text/plain"]
    assert "epsilon" in data["text/html"]


def test_a_chip_escapes_what_a_plan_names(world: World, admitted: ReceiptBook) -> None:
    asked = ((algebra.Count("<script>alert(1)</script>"),), ())
    facts = admitted.accept(builtins(world.sign(world.receipt("x", (5,), asked))), "m1")
    facts = msgspec.structs.replace(facts, keys=("<b>k</b>",), question="<i>q</i>")
    data, _ = chip.display([facts])
    assert "<script>" not in data["text/html"]
    assert "<b>" not in data["text/html"]
    assert "<i>" not in data["text/html"]
