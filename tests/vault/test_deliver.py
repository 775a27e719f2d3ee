"""Deliver: exact scores of one approved plan leave, sealed to a receiver, and nothing else does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from mutants import mutated
from vault_world import PATIENTS, World, context, plan

from cloister.attest.encoding import unb64
from cloister.contract import signing
from cloister.contract.exits import DeliverTerms, Exits, Receiver
from cloister.contract.unit_keys import key_bytes, unit_hash, unit_salt
from cloister.errors import CloisterError, FaultError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Request
from cloister.provider import deliveries
from cloister.receipt import chain, delivery
from cloister.receipt import exits as statements
from cloister.receipt.facts import facts
from cloister.vault import deadline, deliver, exits, permits
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.engine import Engine
from cloister.vault.mock import MockVault

replace = msgspec.structs.replace
BUREAU = X25519PrivateKey.generate()
KEY = base64.b64encode(BUREAU.public_key().public_bytes_raw()).decode()
AGE = a.PerUnit(a.Table("st_anna.visits"), (a.UnitMeasure("age", "max", a.Col("age")),))
SCORE = a.Deliver(AGE, a.Scale(a.Col("age"), "1/4"), "1", "bureau")


def granting(*plans: a.Deliver, **changes: Any) -> Exits:
    """Return the clauses that approve these plans."""
    approved = tuple(DeliverTerms(codec.exit_digest(found), "bureau", 1) for found in plans)
    return replace(Exits(receivers=(Receiver("bureau", KEY),), deliveries=approved), **changes)


def signed(world: World, *plans: a.Deliver, **changes: Any) -> Any:
    return world.sign(world.contract(exits=granting(*plans), **changes))


def ask(state: Any, world: World, document: Any, op: str = "release", **changes: Any) -> Any:
    if isinstance(document, a.Deliver):
        document = codec.canonical_exit(document)
        document = msgspec.json.decode(document)
    return ConfidentialVault(state).operations()[op](context(world, **changes), Request(1, op, document))


def opened(result: dict[str, Any]) -> tuple[delivery.Delivery, dict[bytes, Fraction | None]]:
    """Return the file in a result and its rows, as the receiver opens them."""
    fields = {name: result[name] for name in ("header", "content", "receipt", "admissions")}
    found = delivery.read_delivery(delivery.to_file(fields))
    return found, {row.unit: row.score for row in delivery.open_delivery(found, BUREAU.private_bytes_raw())}


@pytest.fixture(scope="module", autouse=True)
def _no_grace() -> Iterator[None]:
    """A busy machine makes loads late: what a late answer waits for is tested elsewhere."""
    begin = deadline.Deadline.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline.Deadline, "__init__", lambda self, planned_ms, *_: begin(self, planned_ms, 0.05))
        yield


@pytest.fixture(scope="module")
def told(quiet_world: World) -> tuple[Any, Any, Any]:
    """A contract that approves ``SCORE``, its vault, and the first delivery."""
    document = signed(quiet_world, SCORE)
    state, transport = quiet_world.state(document)
    return document, (state, transport), ask(state, quiet_world, SCORE)


def test_the_receiver_reads_exact_scores_of_his_own_customers_and_no_key_left(quiet_world: World, told: Any) -> None:
    document, _, answered = told
    found, rows = opened(answered.result)
    digest = signing.contract_digest(document)
    salt = unit_salt("patient", ["string"], "exact", digest.encode())
    wanted = {
        unit_hash(salt, key_bytes([f"p{i:04d}"], ["string"], "exact")): Fraction(round(Fraction(i % 100, 4)))
        for i in range(PATIENTS)
    }
    assert rows == wanted, "the nearest multiple of the step, ties to even"
    assert b"p0001" not in unb64(found.content, limit=2**24)
    assert len(unb64(found.content, limit=2**24)) == delivery.content_size(quiet_world.card.row_limit)


def test_its_receipt_verifies_and_shows_neither_plan_nor_scores(quiet_world: World, told: Any) -> None:
    document, _, answered = told
    terms, digest = signing.read_unverified(document), signing.contract_digest(document)
    admissions = {chain.admission_digest(one): chain.open_admission(one, terms, digest) for one in answered.admissions}
    receipt, _ = chain.open_receipt(answered.receipts[0], admissions, terms, digest)
    chain.check_names(receipt, terms)
    chain.check_charges(receipt, [quiet_world.card], terms)
    assert (receipt.plan, receipt.raw, receipt.noise, receipt.rho) == ({}, (), (), "0")
    assert receipt.plan_digest != codec.exit_digest(SCORE)
    statements.check_opened(receipt, unb64(answered.result["salt"]), codec.canonical_exit(SCORE))
    other = codec.canonical_exit(replace(SCORE, step="2"))
    for salt, shown in ((bytes(32), codec.canonical_exit(SCORE)), (unb64(answered.result["salt"]), other)):
        with pytest.raises(CloisterError) as caught:
            statements.check_opened(receipt, salt, shown)
        assert caught.value.code == "receipt.commitment"
    shown = facts(receipt, terms, {quiet_world.card.name: quiet_world.card}, session="s")
    assert "outside the formal guarantee" in shown.question and not shown.rows


def test_it_is_charged_no_rho_counted_once_and_free_again(quiet_world: World) -> None:
    document = signed(quiet_world, SCORE)
    state, _ = quiet_world.state(document)
    population = quiet_world.card.population
    before = quiet_world.anna_broker.tip(population)
    first = ask(state, quiet_world, SCORE)
    after = quiet_world.anna_broker.tip(population)
    entry = quiet_world.anna_broker.entries(population)[-1]
    assert (after.size, after.spent) == (before.size + 1, before.spent)
    assert (entry["exit"], entry["rho"]) == ({"name": "deliver", "clause": 0}, "0")
    assert entry["plan"] != codec.exit_digest(SCORE)
    again = ask(state, quiet_world, SCORE, session="another")
    restarted = ask(quiet_world.state(document)[0], quiet_world, SCORE)
    assert again.result["recalled"] and restarted.result["recalled"] and not first.result["recalled"]
    for later in (again, restarted):
        assert later.result["content"] == first.result["content"], "the same bytes"
        assert later.result["header"] == first.result["header"]
        assert later.result["receipt"] == first.result["receipt"]
    assert quiet_world.anna_broker.tip(population).size == after.size


def test_a_charge_is_booked_before_anything_runs(quiet_world: World) -> None:
    class Stopped(Engine):
        def rows(self, compiled: Any) -> Any:
            raise FaultError("vault.engine", "stopped")

    document = signed(quiet_world, SCORE)
    state, transport = quiet_world.state(document, engine=Stopped(1))
    before = quiet_world.anna_broker.tip(quiet_world.card.population).size
    with pytest.raises(FaultError):
        ask(state, quiet_world, SCORE)
    assert quiet_world.anna_broker.tip(quiet_world.card.population).size == before + 1
    assert "/v1/settle" not in transport.posts
    resumed = ask(quiet_world.state(document)[0], quiet_world, SCORE)
    assert not resumed.result["recalled"], "a charge without a deposit is executed again, and not paid again"
    assert quiet_world.anna_broker.tip(quiet_world.card.population).size == before + 1


def test_an_answer_that_is_not_the_settled_one_never_leaves(quiet_world: World, monkeypatch: Any) -> None:
    document = signed(quiet_world, SCORE)
    state, _ = quiet_world.state(document)
    ask(state, quiet_world, SCORE)
    kept = Engine.rows
    monkeypatch.setattr(Engine, "rows", lambda self, compiled: kept(self, compiled)[1:])
    with pytest.raises(FaultError) as caught:
        ask(state, quiet_world, SCORE)
    assert caught.value.code == "vault.fault"


GENOME = a.PerUnit(a.Table("st_anna.visits"), (a.UnitMeasure("g", "max", a.Col("genome")),))
CHOSEN = a.Filter(AGE, a.Compare("ge", a.Col("age"), a.Number("18")))
REFUSED = [
    (replace(SCORE, step="2"), (SCORE,), "exit.deliver"),
    (replace(SCORE, source=CHOSEN), (SCORE,), "exit.deliver"),
    (replace(SCORE, receiver="another"), (SCORE,), "exit.receiver"),
    (replace(SCORE, source=a.Table("st_anna.visits")), None, "plan.units"),
    (replace(SCORE, step="1/100"), None, "plan.score"),
    (replace(SCORE, source=GENOME, score=a.Col("g")), None, "contract.tier"),
    (replace(SCORE, source=a.Table("elsewhere.people")), None, "plan.table"),
    (replace(SCORE, score=a.Col("nothing")), None, "plan.column"),
    (replace(SCORE, score=a.Boolean(True), step="1"), None, None),
]


@pytest.mark.parametrize(("asked", "approved", "code"), REFUSED)
def test_what_is_refused_is_free(quiet_world: World, asked: a.Deliver, approved: Any, code: str | None) -> None:
    document = signed(quiet_world, *(approved or (asked,)))
    state, transport = quiet_world.state(document)
    for op in ("price", "release"):
        if code is None:
            continue
        with pytest.raises(CloisterError) as caught:
            ask(state, quiet_world, asked, op)
        assert caught.value.code == code
        assert caught.value.reason and caught.value.next_step
    assert "/v1/append" not in transport.posts


def test_only_the_analysts_of_the_contract_for_its_purposes(quiet_world: World) -> None:
    state, transport = quiet_world.state(signed(quiet_world, SCORE))
    for changes, code in (({"analyst": "did:key:x"}, "contract.analyst"), ({"purpose": "x"}, "contract.purpose")):
        with pytest.raises(CloisterError) as caught:
            ask(state, quiet_world, SCORE, **changes)
        assert caught.value.code == code
    assert not transport.posts


def test_a_clause_is_used_up_by_another_analyst_and_not_by_a_repeat(quiet_world: World) -> None:
    state, _ = quiet_world.state(signed(quiet_world, SCORE))
    ask(state, quiet_world, SCORE)
    ask(state, quiet_world, SCORE)
    with pytest.raises(CloisterError) as caught:
        ask(state, quiet_world, SCORE, analyst=quiet_world.other_analyst.did)
    assert caught.value.code == "limit.deliver" and caught.value.next_step


def test_without_the_clause_nothing_is_delivered(quiet_world: World) -> None:
    state, transport = quiet_world.state()
    with pytest.raises(CloisterError) as caught:
        ask(state, quiet_world, SCORE)
    assert caught.value.code == "exit.deliver"
    assert not transport.posts


def test_the_noisy_path_knows_no_exit(quiet_world: World) -> None:
    """Nothing that prices, draws or shapes accepts an exit, so none can be had at a price."""
    with pytest.raises(CloisterError) as caught:
        codec.decode(codec.canonical_exit(SCORE))
    assert caught.value.code == "plan.malformed"
    with pytest.raises(CloisterError):
        codec.decode_exit(plan())


def test_a_rehearsal_delivers_invented_scores_and_says_so(quiet_world: World) -> None:
    state, _ = quiet_world.state(signed(quiet_world, SCORE), mode="mock")
    mock = MockVault(state.terms, Engine(1))
    document = msgspec.json.decode(codec.canonical_exit(SCORE))
    answered = mock.operations()["release"](context(quiet_world), Request(1, "release", document))
    found, rows = opened(answered.result)
    assert found.header.mode == "mock" and found.receipt is None and rows
    assert not answered.receipts and answered.rehearsals[0].costs == ()


def test_the_account_says_what_the_guarantee_excludes(quiet_world: World, told: Any) -> None:
    _, (state, _), _ = told
    told_of = ConfidentialVault(state).operations()["budget"](context(quiet_world), Request(2, "budget")).result
    flags = {limit.get("excludes") for limit in told_of["limits"] if limit["name"] == "privacy"}
    assert flags == {"deliver releases"}


def _another_answer(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_an_answer_that_is_not_the_settled_one_never_leaves(world, patch)


DEFENCES: list[tuple[Any, str, str, Any]] = [
    (deliver, "approved.plan == digest and", "", lambda w: test_what_is_refused_is_free(w, *REFUSED[0])),
    (deliver, "delivery.check_scores(", "str(", lambda w: test_what_is_refused_is_free(w, *REFUSED[3])),
    (permits, 'if rule.decision == "allow":', "if True:",
     lambda w: test_what_is_refused_is_free(w, *REFUSED[5])),
    (exits, "    check_asker(context, terms)\n", "", test_only_the_analysts_of_the_contract_for_its_purposes),
    (exits, "if stands is None or", "if stands is None and", _another_answer),
    (exits, "commitment = naming.commitment(salt, codec.canonical_exit(plan))", "commitment = codec.exit_digest(plan)",
     test_it_is_charged_no_rho_counted_once_and_free_again),
    (deliveries, "len(made) > exits.deliveries[clause].times", "False",
     test_a_clause_is_used_up_by_another_analyst_and_not_by_a_repeat),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), DEFENCES)
def test_each_defence_is_needed(quiet_world: World, module: Any, old: str, new: str, check: Any) -> None:
    with mutated(module, old, new), pytest.raises((AssertionError, pytest.fail.Exception, CloisterError, TypeError)):
        check(quiet_world)


def test_it_leaves_a_real_vault_by_its_link(world: World) -> None:
    with world.vault(world.config(signed(world, SCORE))) as vault:
        answer = vault.ask_with_routing("release", msgspec.to_builtins(SCORE))
        price = vault.ask("price", msgspec.to_builtins(SCORE))
    assert len(opened(answer["result"])[1]) == PATIENTS
    assert len(answer["routing"]["receipts"]) == len(answer["routing"]["admissions"]) == 1
    assert (price["exit"], price["rho"], price["excludes"]) == ("deliver", "0", "deliver releases")
