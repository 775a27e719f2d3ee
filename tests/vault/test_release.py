"""Releases, end to end: a real vault process, real brokers with SQLite, sealed capsules, a contract all signed."""

from __future__ import annotations

import contextlib
import threading
import time
from fractions import Fraction

import msgspec
import pytest
from vault_world import PATIENTS, World, numbered, plan, visits

from cloister.contract import signing
from cloister.errors import CloisterError, TrustError, UnavailableError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.shape import shape
from cloister.receipt import chain
from cloister.wire.envelope import Envelope

COUNT_COST_AGE = (a.Count("n"), a.Sum("cost", a.Col("cost")), a.Mean("age", a.Col("age")))


def opened(world: World, vault, answer: dict):
    """Return the receipt of an answer after walking the whole chain from the contract."""
    contract = msgspec.convert(vault.config["contract"], Envelope)
    terms, digest = signing.read_unverified(contract), signing.contract_digest(contract)
    admissions = {}
    for document in answer["routing"]["admissions"]:
        envelope = msgspec.convert(document, Envelope)
        admissions[chain.admission_digest(envelope)] = chain.open_admission(envelope, terms, digest)
    (receipt,) = answer["routing"]["receipts"]
    found, vault_id = chain.open_receipt(msgspec.convert(receipt, Envelope), admissions, terms, digest)
    chain.check_names(found, terms)
    assert vault_id == vault.opening["vault_id"] or answer["result"]["recalled"]
    return found


def test_a_release_tells_the_truth_and_its_receipt_verifies(world: World) -> None:
    asked = plan(*COUNT_COST_AGE, rho="1/5")
    with world.vault() as vault:
        price = vault.ask("price", asked)
        answer = vault.ask_with_routing("release", asked)
        result = answer["result"]
        receipt = opened(world, vault, answer)
        assert (result["recalled"], result["mode"], result["assurance"]) == (False, "confidential", "simulated")
        assert result["rho"] == price["rho"] == receipt.rho
        assert Fraction(result["rho"]) <= Fraction("1/5")
        sigmas = [float.fromhex(part["sigma"]) for part in result["noise"]]
        assert [part["sigma"] for part in price["components"]] == [part["sigma"] for part in result["noise"]]
        raw = [int(text) for text in result["raw"]]
        exact_age = sum(visits()["age"].to_pylist()) / (2 * PATIENTS)
        shown = shape(codec.decode(asked), {world.card.name: world.card}, raw, sigmas)
        for measure, exact in zip(shown.measures, (2 * PATIENTS, 20 * PATIENTS, exact_age), strict=True):
            assert abs(measure.values[0] - exact) < 7 * measure.stderr[0], measure.name
        assert [receipt.raw, receipt.session, receipt.cause.kind] == [tuple(result["raw"]), "session-1", "cell"]


def test_proxy_and_reviewer_accept_the_price_of_a_receipt(world: World) -> None:
    with world.vault() as vault:
        receipt = opened(world, vault, vault.ask_with_routing("release", numbered(17)))
        terms = signing.read_unverified(msgspec.convert(vault.config["contract"], Envelope))
    chain.check_charges(receipt, [world.card], terms)


def test_an_entry_says_how_much_of_it_is_for_quantiles(world: World) -> None:
    """A report composes them apart from Gaussian noise; an entry without any is the one it always was."""
    with world.vault() as vault:
        mixed = vault.ask("release", plan(a.Count("n"), a.Quantile("q", a.Col("age"), ("1/2",)), rho="1/100"))
        vault.ask("release", numbered(23))
    last, plain = world.anna_broker.entries("st_anna.patients")[-2:]
    assert last["maxima"] == mixed["noise"][1]["rho"] != "0"
    assert Fraction(last["rho"]) == sum(Fraction(part["rho"]) for part in mixed["noise"])
    assert "maxima" not in plain


def test_a_grouped_release_counts_every_cell(world: World) -> None:
    with world.vault() as vault:
        result = vault.ask("release", plan(a.Count("n"), keys=("sex",), rho="1/10"))
    raw = [int(text) for text in result["raw"]]
    assert len(raw) == 3, "f, m and (other)"
    sigma = float.fromhex(result["noise"][0]["sigma"])
    assert all(abs(value - exact) < 7 * sigma for value, exact in zip(raw, (PATIENTS, PATIENTS, 0), strict=True))


def test_the_same_question_is_free_in_memory_and_across_a_restart(world: World) -> None:
    config = world.config()
    with world.vault(config) as vault:
        first = vault.ask("release", numbered(1))
        spent = world.anna_broker.tip(world.card.population).spent
        again = vault.ask("release", numbered(1), session="another")
    with world.vault(config) as vault:
        answer = vault.ask_with_routing("release", numbered(1))
        opened(world, vault, answer)
    assert again["recalled"] and answer["result"]["recalled"]
    assert first["raw"] == again["raw"] == answer["result"]["raw"]
    assert first["receipt"] == again["receipt"] == answer["result"]["receipt"]
    assert world.anna_broker.tip(world.card.population).spent == spent


def test_another_contract_is_another_answer(world: World) -> None:
    with world.vault() as one, world.vault() as two:
        first, second = (vault.ask("release", numbered(2, rho="1/100000")) for vault in (one, two))
    assert first["charge_id"] != second["charge_id"]
    assert not second["recalled"]


def test_the_same_plan_at_once_is_charged_once(world: World) -> None:
    with world.vault() as vault:
        before = world.anna_broker.tip(world.card.population).size
        numbers = [vault.begin("release", numbered(3), session=f"s{i}") for i in range(4)]
        answers = [vault.wait(number) for number in numbers]
    assert len({tuple(answer["result"]["raw"]) for answer in answers}) == 1
    assert [answer["routing"]["session"] for answer in answers] == ["s0", "s1", "s2", "s3"]
    assert world.anna_broker.tip(world.card.population).size == before + 1


def test_cheap_questions_are_answered_while_a_release_runs(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(0))
        asked_all, held = threading.Event(), []
        vault.network.before = lambda path, body: (path == "/v1/settle" and held.append(asked_all.wait(60))) or body
        slow = vault.begin("release", numbered(4))
        described = vault.ask("describe")
        vault.ask("price", numbered(5))
        asked_all.set()
        vault.wait(slow)
        vault.network.before = lambda path, body: body
    assert held == [True], "the release waited for its deposit until the questions were answered"
    assert set(described["cards"]) == {"st_anna.visits", "bank.customers"}


def test_nothing_comes_before_the_planned_deadline(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(6))
        deadline_s = vault.ask("price", numbered(7))["deadline_ms"] / 1000
        settled_at: list[float] = []
        vault.network.before = lambda path, body: (path == "/v1/settle" and settled_at.append(time.monotonic())) or body
        start = time.monotonic()
        vault.ask("release", numbered(7))
        vault.network.before = lambda path, body: body
    assert settled_at[0] - start >= deadline_s, "not even the deposit may tell when the work was done"


def test_a_newer_vault_fences_an_older_one_for_good(world: World) -> None:
    config = world.config()
    with world.vault(config) as old, world.vault(config) as new:
        first = old.ask("release", numbered(8))
        assert new.ask("release", numbered(8))["raw"] == first["raw"]
        before = world.anna_broker.tip(world.card.population).size
        for _ in range(2):
            with pytest.raises(TrustError) as refused:
                old.ask("release", numbered(9))
            assert refused.value.code == "session.fenced"
            assert refused.value.next_step
        assert world.anna_broker.tip(world.card.population).size == before
        assert not new.ask("release", numbered(9))["recalled"]


def test_two_providers_in_one_contract_fail_apart(world: World) -> None:
    income = plan(a.Mean("income", a.Col("income")), table="bank.customers", rho="1/1000")
    with world.vault() as vault:
        world.bank_broker.kill()
        try:
            with pytest.raises(UnavailableError) as down:
                vault.ask("release", income)
            assert (down.value.code, bool(down.value.next_step)) == ("broker.unavailable", True)
            assert not vault.ask("release", numbered(10))["recalled"], "the other provider's data are still there"
        finally:
            world.bank_broker.start()
        answer = vault.ask_with_routing("release", income)
        receipt = opened(world, vault, answer)
    assert [charge.broker for charge in receipt.charges] == [world.bank_broker.did]


def test_a_restarted_broker_goes_on_with_the_same_vault(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(11))
        world.anna_broker.kill()
        with pytest.raises(UnavailableError):
            vault.ask("release", numbered(12))
        world.anna_broker.start()
        assert not vault.ask("release", numbered(12))["recalled"]


def test_shared_releases_are_shared_and_others_are_not(world: World) -> None:
    shared = world.config(world.sign(world.contract(share_releases=True)))
    with world.vault(shared) as vault:
        first = vault.ask("release", numbered(13))
        second = vault.ask("release", numbered(13), analyst=world.other_analyst.did)
    assert second["recalled"] and first["raw"] == second["raw"]
    with world.vault() as vault:
        first = vault.ask("release", numbered(13))
        second = vault.ask("release", numbered(13), analyst=world.other_analyst.did)
    assert not second["recalled"] and first["charge_id"] != second["charge_id"]


def test_the_budget_is_what_the_broker_signs(world: World) -> None:
    with world.vault() as vault:
        cost = Fraction(vault.ask("release", numbered(14))["rho"])
        budget = vault.ask("budget")
        described = vault.ask("describe")
    account = next(limit for limit in budget["limits"] if limit.get("population") == world.card.population)
    assert Fraction(account["spent"]) == world.anna_broker.tip(world.card.population).spent >= cost
    assert Fraction(account["limit"]) == Fraction(described["budgets"][0]["rho_total"])
    names = [limit["name"] for limit in budget["limits"]]
    assert names == ["privacy", "privacy", "releases", "rows", "compute", "models", "expiry"]
    spent = {limit["name"]: limit["spent"] for limit in budget["limits"] if limit["name"] not in {"privacy", "expiry"}}
    assert spent == {"releases": 1, "rows": world.card.row_limit, "compute": 1, "models": 0}
    assert budget["time"].endswith("Z")


def test_the_log_of_a_vault_has_neither_values_nor_times(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(15))
        with contextlib.suppress(CloisterError):
            vault.ask("release", {"op": "nonsense"})
    assert vault.log == [
        "cloister.vault: ready: confidential",
        "cloister.vault.service: refused: plan.malformed",
        "cloister.vault: the link is closed",
    ]
