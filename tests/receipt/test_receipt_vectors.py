"""Receipts and accounts against frozen vectors: names, bytes, signatures, log proofs and what is shown."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from cloister.contract.card import Card
from cloister.plan import codec
from cloister.plan.shape import shape
from cloister.receipt import ledger, log, naming
from cloister.receipt import receipt as receipts
from cloister.wire import canonical, identity
from cloister.wire.envelope import Envelope, open_envelope, seal

VECTORS = Path(__file__).parents[1] / "vectors"
RECEIPT = json.loads((VECTORS / "receipt.json").read_text())
ACCOUNT = json.loads((VECTORS / "account.json").read_text())
KEYS = {name: identity.SigningKey.from_bytes(bytes.fromhex(seed)) for name, seed in RECEIPT["keys"].items()}


def test_the_plan_has_one_encoding():
    plan = codec.decode(RECEIPT["plan"])
    assert canonical.encode(codec.encode(plan)) == canonical.encode(RECEIPT["plan"])
    assert codec.digest(plan) == RECEIPT["plan_digest"]


def test_release_key_and_charge_id():
    facts = RECEIPT["release"]
    card = msgspec.convert(RECEIPT["card"], Card)
    key = naming.release_key(
        plan=RECEIPT["plan_digest"],
        rho=Fraction(facts["rho"]),
        manifests=facts["manifests"],
        cards=[canonical.digest(card)],
        env_digest=facts["env_digest"],
        contract=facts["contract"],
        analyst=facts["analyst"],
    )
    assert key == facts["key"]
    assert naming.charge_id(key) == facts["charge_id"]


def test_receipt_bytes_and_signature():
    receipt = msgspec.convert(RECEIPT["receipt"], receipts.Receipt)
    body = canonical.encode(receipt)
    assert canonical.digest_bytes(body) == RECEIPT["receipt_digest"]
    envelope = msgspec.convert(RECEIPT["envelope"], Envelope)
    assert seal(receipts.RECEIPT_TYPE, body, KEYS["vault"]) == envelope
    assert open_envelope(envelope, receipts.RECEIPT_TYPE, KEYS["vault"].did) == body


def test_raw_values_mean_what_was_shown():
    receipt = msgspec.convert(RECEIPT["receipt"], receipts.Receipt)
    cards = {"clinic.visits": msgspec.convert(RECEIPT["card"], Card)}
    sigmas = [float.fromhex(noise.sigma) for noise in receipt.noise]
    measure = shape(codec.decode(receipt.plan), cards, [int(text) for text in receipt.raw], sigmas).measures[0]
    assert measure.values == pytest.approx(RECEIPT["shown"]["values"], abs=1e-9)
    assert measure.stderr == pytest.approx(RECEIPT["shown"]["stderrs"], abs=1e-9)


def test_account_entries_leaves_and_roots():
    leaves = []
    for vector in ACCOUNT["entries"]:
        body = canonical.encode(msgspec.convert(vector["entry"], ledger.Entry))
        assert body.decode() == vector["bytes"]
        leaves.append(log.leaf_hash(body))
        assert leaves[-1].hex() == vector["leaf"]
        assert log.root_text(log.root(leaves)) == vector["root"]


def test_account_proofs():
    leaves = [bytes.fromhex(vector["leaf"]) for vector in ACCOUNT["entries"]]
    for vector in ACCOUNT["inclusion"]:
        proof = [bytes.fromhex(node) for node in vector["proof"]]
        log.verify_inclusion(leaves[vector["index"]], vector["index"], len(leaves), proof, log.root(leaves))
    for vector in ACCOUNT["consistency"]:
        proof = [bytes.fromhex(node) for node in vector["proof"]]
        old = vector["old"]
        log.verify_consistency(old, log.root(leaves[:old]), len(leaves), log.root(leaves), proof)


def test_ledger_messages_are_signed_by_vault_and_broker():
    request = open_envelope(msgspec.convert(ACCOUNT["request"], Envelope), ledger.REQUEST_TYPE, KEYS["vault"].did)
    reply = open_envelope(msgspec.convert(ACCOUNT["reply"], Envelope), ledger.REPLY_TYPE, KEYS["broker"].did)
    asked = msgspec.json.decode(request, type=ledger.AppendRequest)
    answered = msgspec.json.decode(reply, type=ledger.LedgerReply)
    assert canonical.encode(asked) == request
    assert canonical.encode(answered) == reply
    assert (asked.request, asked.nonce, asked.vault_id) == (answered.request, answered.nonce, answered.vault_id)
    assert answered.root == ACCOUNT["entries"][-1]["root"]
