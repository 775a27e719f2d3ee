"""Keys released end to end: charged in rho and delta, signed with their texts, recalled, verified and shown."""

from __future__ import annotations

import msgspec
import pytest
from test_release import opened
from vault_world import PATIENTS, World, context

from cloister.contract import signing
from cloister.errors import CloisterError, TrustError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.receipt import chain, facts
from cloister.vault.release import release
from cloister.wire.envelope import Envelope

ASKED = codec.encode(a.ThresholdKeys(a.Table("st_anna.visits"), ("sex",), 1, "1/10", "1/10000000"))


def granting(world: World):
    """A contract with a part of delta for keys."""
    contract = world.contract()
    budgets = tuple(msgspec.structs.replace(budget, delta_keys="0.0000005") for budget in contract.budgets)
    return world.sign(msgspec.structs.replace(contract, budgets=budgets))


def test_keys_are_charged_signed_and_shown(world: World) -> None:
    config = world.config(granting(world))
    with world.vault(config) as vault:
        price = vault.ask("price", ASKED)
        answer = vault.ask_with_routing("release", ASKED)
        again = vault.ask("release", ASKED)
        receipt = opened(world, vault, answer)
        terms = signing.read_unverified(msgspec.convert(vault.config["contract"], Envelope))
    assert answer["result"]["labels"] == [["f"], ["m"]] == again["labels"]
    assert again["recalled"]
    assert (price["delta"], receipt.delta) == ("1/10000000", "1/10000000")
    assert receipt.labels == (("f",), ("m",))
    chain.check_charges(receipt, [world.card], terms)
    cards = {world.card.name: world.card}
    shown = facts.facts(receipt, terms, cards, session="s")
    assert [row.cell for row in shown.rows] == [("f",), ("m",)]
    assert all(abs(float(text) - PATIENTS / 2) < 60 for row in shown.rows for text in row.values)
    assert "values of sex" in shown.question


def test_a_receipt_with_a_value_below_the_threshold_is_not_believed(quiet_world: World) -> None:
    state, _ = quiet_world.state(granting(quiet_world))
    receipt = release(state, context(quiet_world), ASKED).receipt
    cards = {quiet_world.card.name: quiet_world.card}
    assert facts.shaped(receipt, cards).cells() == [("f",), ("m",)]
    forged = msgspec.structs.replace
    for other in (
        forged(receipt, raw=("7", receipt.raw[1])),
        forged(receipt, delta="0"),
        forged(receipt, delta=msgspec.UNSET),
        forged(receipt, labels=(("m",), ("f",))),
        forged(receipt, labels=msgspec.UNSET),
        forged(receipt, labels=(("f",), ("x",))),
    ):
        with pytest.raises(TrustError) as refused:
            facts.shaped(other, cards)
        assert refused.value.code == "receipt.shape"
    closed = release(state, context(quiet_world), codec.encode(
        a.VectorSum(a.Table("st_anna.visits"), (a.Count("n"),), "1/100")
    )).receipt  # fmt: skip
    assert (closed.delta, closed.labels) == (msgspec.UNSET, msgspec.UNSET)
    with pytest.raises(TrustError):
        facts.shaped(forged(closed, delta="1/10"), cards)


def test_the_mock_vault_rehearses_keys(quiet_world: World) -> None:
    from cloister.plan.link import Request
    from cloister.vault.config import open_config
    from cloister.vault.engine import Engine
    from cloister.vault.mock import MockVault
    from cloister.wire import canonical

    terms = open_config(canonical.encode(quiet_world.config(granting(quiet_world), mode="mock", capsules={})))
    asked = context(quiet_world)
    answered = MockVault(terms, Engine(1)).operations()["release"](asked, Request(1, "release", ASKED))
    assert answered.result["labels"] == [["f"], ["m"]]
    assert len(answered.result["raw"]) == 2


def test_without_a_clause_no_keys_are_released(quiet_world: World) -> None:
    state, _ = quiet_world.state()
    with pytest.raises(CloisterError) as refused:
        release(state, context(quiet_world), ASKED)
    assert refused.value.code == "budget.delta"
