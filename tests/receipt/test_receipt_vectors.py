"""Receipts and accounts against frozen vectors: names, bytes, signatures, log proofs and what is shown.

``python tests/receipt/test_receipt_vectors.py`` writes the files again after a struct has changed: what is stated in
them (card, plan, receipt, entries, the messages' facts) stays, what follows from it is computed.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

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


def derived_receipt(stated: dict[str, Any]) -> dict[str, Any]:
    """Return ``receipt.json`` with everything that follows from the receipt computed from it."""
    body = canonical.encode(msgspec.convert(stated["receipt"], receipts.Receipt))
    envelope = seal(receipts.RECEIPT_TYPE, body, KEYS["vault"])
    return {**stated, "receipt_digest": canonical.digest_bytes(body), "envelope": msgspec.to_builtins(envelope)}


def derived_account(stated: dict[str, Any]) -> dict[str, Any]:
    """Return ``account.json`` with bytes, leaves, roots, proofs and signatures computed from entries and messages."""
    entries, leaves = [], []
    for vector in stated["entries"]:
        body = canonical.encode(msgspec.convert(vector["entry"], ledger.Entry))
        leaves.append(log.leaf_hash(body))
        root = log.root_text(log.root(leaves))
        entries.append({"entry": vector["entry"], "bytes": body.decode(), "leaf": leaves[-1].hex(), "root": root})
    inclusion = [[node.hex() for node in log.inclusion_proof(leaves, index)] for index in range(len(leaves))]
    consistency = {old: [node.hex() for node in log.consistency_proof(leaves, old)] for old in range(1, len(leaves))}
    asked = msgspec.convert(stated["messages"]["request"], ledger.AppendRequest)
    answered = msgspec.convert(stated["messages"]["reply"], ledger.LedgerReply)
    return {
        "entries": entries,
        "inclusion": [{"index": index, "proof": proof} for index, proof in enumerate(inclusion)],
        "consistency": [{"old": old, "proof": proof} for old, proof in consistency.items()],
        "messages": stated["messages"],
        "request": msgspec.to_builtins(seal(ledger.REQUEST_TYPE, canonical.encode(asked), KEYS["vault"])),
        "reply": msgspec.to_builtins(seal(ledger.REPLY_TYPE, canonical.encode(answered), KEYS["broker"])),
    }


def test_the_files_hold_what_follows_from_what_they_state():
    for derived, stated in ((derived_receipt(RECEIPT), RECEIPT), (derived_account(ACCOUNT), ACCOUNT)):
        assert json.loads(json.dumps(derived)) == stated


if __name__ == "__main__":
    for name, content in (("receipt", derived_receipt(RECEIPT)), ("account", derived_account(ACCOUNT))):
        (VECTORS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
