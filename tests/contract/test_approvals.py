"""Approvals: two different persons, never the one who asks; missing, wrong and self-granted signatures are refused."""

from __future__ import annotations

import msgspec
import pytest
from clause_samples import ANALYST, CARLA, DAN, PROVIDER, STRANGER, WHOLE

from cloister.contract import approvals, packs, signing
from cloister.contract.approvals import APPROVAL_TYPE, Approval
from cloister.contract.clauses import Approver
from cloister.errors import ContractError
from cloister.wire import canonical, envelope

replace = msgspec.structs.replace
DIGEST = signing.contract_digest(WHOLE)
ASKED = Approval(
    contract=DIGEST,
    analyst=ANALYST.did,
    table="clinic.visits",
    columns=("bmi",),
    operations=("aggregate",),
    purpose="research",
    necessity="a study",
    measures="noise",
    lowers_to=2,
    nda="sha256:" + "5" * 64,
    not_before="2026-06-01T00:00:00Z",
    not_after="2026-07-01T00:00:00Z",
)


def signed(*keys, asked=ASKED):
    return envelope.seal(APPROVAL_TYPE, canonical.encode(asked), *keys)


def refused(code, act):
    with pytest.raises(ContractError) as caught:
        act()
    assert caught.value.code == code
    assert caught.value.next_step


def test_a_request_that_two_approvers_signed_opens():
    document = approvals.request(ASKED, WHOLE, ANALYST)
    refused("approval.unsigned", lambda: approvals.open_approval(document, WHOLE, DIGEST))
    for key in (CARLA, DAN):
        document = approvals.approve(document, WHOLE, key)
    found = approvals.open_approval(document, WHOLE, DIGEST)
    assert found.approval == ASKED
    assert found.approvers == ("carla", "dan")
    assert found.digest == canonical.digest(ASKED), "of what was asked, whoever signed"


def test_an_approval_of_a_delivery_names_one_of_the_contract():
    plan = WHOLE.outside.deliveries[0].plan
    ask = replace(ASKED, operations=("deliver",), plan=plan)
    assert approvals.read_unverified(approvals.request(ask, WHOLE, ANALYST)) == ask
    assert b"plan" not in canonical.encode(ASKED), "what was signed before there was the field reads as it did"
    for wrong in (
        replace(ask, plan=""),
        replace(ask, plan="sha256:" + "0" * 64),
        replace(ask, operations=("deliver", "match")),
    ):
        refused("approval.scope", lambda wrong=wrong: approvals.request(wrong, WHOLE, ANALYST))


def test_nobody_approves_a_request_of_their_own():
    document = approvals.request(ASKED, WHOLE, ANALYST)
    refused("approval.self-granted", lambda: approvals.approve(document, WHOLE, ANALYST))
    # Not even where a contract that was never linted names the analyst as an approver.
    own = replace(WHOLE, approvers=(*WHOLE.approvers, Approver("ana", ANALYST.did, "clinic")))
    refused("approval.self-granted", lambda: approvals.approve(document, own, ANALYST))
    refused("approval.unsigned", lambda: approvals.open_approval(signed(ANALYST), own, DIGEST))
    assert len(approvals.open_approval(signed(ANALYST, CARLA), own, DIGEST).approvers) == 1


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ((), "approval.unsigned"),
        ((CARLA, DAN), "approval.unsigned"),
        ((ANALYST,), "approval.unsigned"),
        ((ANALYST, STRANGER), "approval.signer"),
        ((ANALYST, PROVIDER), "approval.signer"),
        ((ANALYST, CARLA, STRANGER), "approval.signer"),
        ((ANALYST, CARLA, CARLA), "approval.signer"),
    ],
)
def test_missing_and_foreign_signatures_are_refused(keys, code):
    refused(code, lambda: approvals.open_approval(signed(*keys), WHOLE, DIGEST))


def test_a_borrowed_signature_does_not_count():
    other = signed(ANALYST, CARLA, DAN, asked=replace(ASKED, columns=("bmi", "age")))
    borrowed = replace(signed(ANALYST), signatures=other.signatures)
    refused("approval.unsigned", lambda: approvals.open_approval(borrowed, WHOLE, DIGEST))
    mixed = replace(signed(ANALYST), signatures=(signed(ANALYST).signatures[0], other.signatures[1]))
    refused("approval.signer", lambda: approvals.open_approval(mixed, WHOLE, DIGEST))


def test_it_is_of_one_contract():
    other = "sha256:" + "9" * 64
    refused("approval.contract", lambda: approvals.open_approval(signed(ANALYST, CARLA), WHOLE, other))


def test_another_document_is_none():
    contract = signing.sign_contract(WHOLE, PROVIDER, ANALYST)
    refused("approval.malformed", lambda: approvals.open_approval(contract, WHOLE, DIGEST))
    refused("approval.malformed", lambda: approvals.read_unverified(replace(signed(ANALYST), payload="bm9uZQ==")))


@pytest.mark.parametrize(
    "changes",
    [
        {"table": "clinic.other"},
        {"analyst": STRANGER.did},
        {"purpose": "marketing"},
        {"columns": ()},
        {"columns": ("*",)},
        {"columns": ("bmi", "bmi")},
        {"operations": ()},
        {"operations": ("aggregate", "aggregate")},
        {"nda": "signed"},
        {"lowers_to": 6},
        {"lowers_to": -1},
        {"not_after": "2026-06-01T00:00:00Z"},
        {"not_after": "soon"},
        {"necessity": "because\x1b[2J"},
    ],
)
def test_a_senseless_request_is_refused_at_every_step(changes):
    asked = replace(ASKED, **changes)
    document = signed(ANALYST, CARLA, asked=asked)
    refused("approval.scope", lambda: approvals.request(asked, WHOLE, ANALYST))
    refused("approval.scope", lambda: approvals.approve(document, WHOLE, DAN))
    refused("approval.scope", lambda: approvals.open_approval(document, WHOLE, DIGEST))


def test_a_request_is_made_by_its_analyst():
    refused("approval.signer", lambda: approvals.request(ASKED, WHOLE, CARLA))
    refused("approval.unsigned", lambda: approvals.approve(signed(CARLA), WHOLE, DAN))
    refused("approval.signer", lambda: approvals.approve(signed(ANALYST), WHOLE, STRANGER))


def test_it_holds_from_its_beginning_and_not_at_its_end():
    times = ("2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z", "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z")
    assert [ASKED.holds_at(time) for time in times] == [False, True, True, False]
    assert ASKED.days == 30


# Packs ----------------------------------------------------------------------------------------------

PACKS = [packs.USUAL, *map(packs.load, packs.NAMES)]


@pytest.mark.parametrize("tier", range(1, 6))
@pytest.mark.parametrize("level", range(1, 6))
def test_and_above_includes(level, tier):
    assert packs.at_least(level, tier) == (tier - level >= 0)


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name or "usual")
@pytest.mark.parametrize("operation", packs.OPERATIONS)
def test_no_tier_is_handled_more_loosely_than_the_one_below(pack, operation):
    assert [level.tier for level in pack.level] == list(range(1, pack.tiers + 1))
    for tier in range(2, pack.tiers + 1):
        assert pack.rule(tier, operation).stricter(pack.rule(tier - 1, operation))


def test_tier_five_is_stricter_than_tier_four_under_the_draft():
    pack = packs.load("pboc-draft-2023")
    for operation in packs.OPERATIONS:
        assert not pack.rule(4, operation).stricter(pack.rule(5, operation)), operation


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name or "usual")
def test_nothing_above_the_highest_result_leaves_unlowered(pack):
    for tier in range(pack.highest_result + 1, pack.tiers + 1):
        for operation in ("aggregate", "model"):
            rule = pack.rule(tier, operation)
            assert rule.decision == "refuse" or "down-tier" in rule.needs


def test_what_a_pack_does_not_know_is_refused():
    pack = packs.load("beijing-4")
    assert pack.rule(5, "aggregate").decision == "refuse"
    assert pack.rule(1, "export").decision == "refuse"
    assert pack.rule(0, "aggregate").decision == "refuse"
