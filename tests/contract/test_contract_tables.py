"""docs/contracts.md says what the code does: roles x actions, every cell tried, and tables as they are generated."""

from __future__ import annotations

import base64
import functools
import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from clause_samples import ANALYST, BROKER, CARD, CARLA, PROVIDER, STRANGER, WHOLE
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from test_approvals import ASKED

from cloister.contract import approvals, packs, permissions, signing, tariffs
from cloister.errors import CloisterError, ContractError
from cloister.plan.link import Cause, Context
from cloister.receipt import chain, delivery
from cloister.receipt.receipt import ADMISSION_TYPE, Admission
from cloister.vault.authorise import check_asker
from cloister.vault.config import Terms
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey

DOCS = Path(__file__).parents[2] / "docs" / "contracts.md"
RECEIVER = SigningKey.generate()
KEYS = {
    "provider": PROVIDER,
    "analyst": ANALYST,
    "approver": CARLA,
    "receiver": RECEIVER,
    "broker": BROKER,
    "stranger": STRANGER,
}
CELLS = [(role, action) for action in permissions.ACTIONS for role in permissions.ROLES]
# Deliveries are sealed to X25519 keys; the others' are as random as his.
PRIVATE = {role: X25519PrivateKey.generate() for role in KEYS}


def sign_contract(key: SigningKey) -> None:
    signing.add_signature(signing.sign_contract(WHOLE), key)


def sign_card(key: SigningKey) -> None:
    signing.open_card(signing.seal_card(CARD, key), WHOLE.parties[0].did)


def ask(key: SigningKey) -> None:
    terms = Terms(
        contract=WHOLE, digest="", cards={}, tables={}, brokers={}, provider_dids={}, capsules={}, env_digest="",
        mode="confidential", assurance="hardware",
    )  # fmt: skip
    check_asker(Context("s", key.did, "research", "", Cause("cell")), terms)


def request(key: SigningKey) -> None:
    approvals.request(msgspec.structs.replace(ASKED, analyst=key.did), WHOLE, key)


def approve(key: SigningKey) -> None:
    approvals.approve(approvals.request(ASKED, WHOLE, ANALYST), WHOLE, key)


def approve_own(key: SigningKey) -> None:
    asked = msgspec.structs.replace(ASKED, analyst=key.did)
    approvals.approve(envelope.seal(approvals.APPROVAL_TYPE, canonical.encode(asked), key), WHOLE, key)


def admit(key: SigningKey) -> None:
    digest = signing.contract_digest(WHOLE)
    fields = {name: "" for name in Admission.__struct_fields__ if name not in {"epoch", "version"}}
    made = {**fields, "broker": key.did, "contract": digest, "epoch": 1, "time": "2026-06-01T00:00:00Z"}
    made |= {"status": "affirming", "assurance": "hardware", "vault_id": STRANGER.did}
    admission = Admission(**{name: value for name, value in made.items() if name in Admission.__struct_fields__})
    chain.open_admission(envelope.seal(ADMISSION_TYPE, canonical.encode(admission), key), WHOLE, digest)


def open_delivery(role: str) -> None:
    to = base64.b64encode(PRIVATE["receiver"].public_key().public_bytes_raw()).decode()
    header = delivery.Header(
        mode="confidential", contract="", plan="", receiver="bureau", to=to, charge_id="", unit="patient",
        kinds=("string",), normaliser="exact", low="0", step="1", points=2, capacity=1,
    )  # fmt: skip
    header = msgspec.structs.replace(header, key=delivery.seal_key(bytes(32), header))
    content = delivery.seal_content([(bytes(16), 1)], header, bytes(32))
    seal = envelope.seal("none", b"", PROVIDER)
    sealed = delivery.Delivery(header, base64.b64encode(content).decode(), seal, ())
    assert len(delivery.open_delivery(sealed, PRIVATE[role].private_bytes_raw())) == 1


ACTS = {
    "sign the contract": sign_contract,
    "sign the card of a table": sign_card,
    "ask a question": ask,
    "ask for an approval": request,
    "approve what somebody else asks for": approve,
    "approve what they ask for": approve_own,
    "admit an enclave": admit,
}


@pytest.mark.parametrize(("role", "action"), CELLS)
def test_a_cell(role: str, action: str) -> None:
    is_opening = action == "open a delivery"
    act = functools.partial(open_delivery, role) if is_opening else functools.partial(ACTS[action], KEYS[role])
    if permissions.may(role, action):
        act()
    else:
        with pytest.raises(CloisterError) as caught:
            act()
        assert caught.value.reason


def test_what_the_table_does_not_know_is_not_allowed() -> None:
    assert not permissions.may("stranger", "sign the contract")
    assert not permissions.may("owner", "sign the contract")
    assert not permissions.may("provider", "anything")


def tables() -> dict[str, str]:
    found = {"roles": permissions.role_table(), "usual": permissions.tier_table(packs.USUAL)}
    return found | {name: permissions.tier_table(packs.load(name)) for name in packs.NAMES}


@pytest.mark.parametrize("name", ["roles", "usual", *packs.NAMES])
def test_the_page_has_the_table(name: str) -> None:
    """With CLOISTER_WRITE_TABLES=1 the page is written instead."""
    text = DOCS.read_text(encoding="utf-8")
    marked = re.compile(rf"<!-- {name} -->\n(?:(?:\|.*\n)*)")
    assert len(marked.findall(text)) == 1
    new = marked.sub(lambda _: f"<!-- {name} -->\n{tables()[name]}\n", text)
    if os.environ.get("CLOISTER_WRITE_TABLES"):
        DOCS.write_text(new, encoding="utf-8")
    assert new == DOCS.read_text(encoding="utf-8")


def test_the_price_list_is_the_contracts() -> None:
    text = tariffs.price_list(WHOLE, "clinic-broker")
    found = tomllib.loads(text)
    prices = {price["item"]: (price["amount"], price["per"]) for price in found["price"]}
    assert found["currency"] == "CNY"
    assert prices == {"releases": ("1", 1), "rows": ("0.5", 10**6), "compute": ("0.01", 10), "models": ("20", 1)}
    assert {price["contract"] for price in found["price"]} == {signing.contract_digest(WHOLE)}
    with pytest.raises(ContractError, match=r"contract\.tariff"):
        tariffs.price_list(WHOLE, "another")
