"""The broker as a vault meets it: admission, charges, settlements, and everything it must refuse."""

from __future__ import annotations

import base64
from fractions import Fraction

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from provider_world import CARD, ENV, POPULATION, Vault, World

from cloister.attest.policy import write_policy
from cloister.contract import capsule_keys, signing
from cloister.contract.capsule_keys import TableKeys, data_key_info
from cloister.contract.states import Decision
from cloister.contract.terms import AnalystLimit, Budget, Limits
from cloister.contract.usage import Usage, Used
from cloister.errors import ContractError, MalformedError, SignatureError
from cloister.plan.precision import rho_of_epsilon
from cloister.provider import clock
from cloister.provider.broker import MAX_QUESTION
from cloister.receipt import log
from cloister.receipt.ledger import REQUEST_TYPE
from cloister.receipt.receipt import ADMISSION_TYPE, Admission
from cloister.wire import canonical, documents, envelope
from cloister.wire.identity import SigningKey

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
TOTAL = rho_of_epsilon(Fraction(1), Fraction(1, 10**6))


def limited(**counts):
    """Limits of which only the named ones can be reached."""
    return Limits(**{"releases": 100, "rows": 10**6, "compute": 10**4, "models": 10, **counts})


# Sessions --------------------------------------------------------------------------------------------


def test_an_admitted_vault_gets_a_signed_admission_and_the_data_key(world):
    vault = Vault(world)
    reply = vault.session()
    assert (reply.status, reply.epoch, reply.population) == ("ok", 1, "")
    document = msgspec.convert(reply.admission, envelope.Envelope)
    admission = documents.decode(envelope.open_envelope(document, ADMISSION_TYPE, world.broker_key.did), Admission)
    assert admission.binding == vault.binding.hex()
    assert (admission.vault_id, admission.epoch, admission.contract) == (vault.key.did, 1, world.digest)
    assert (admission.assurance, admission.status, admission.env_digest) == ("simulated", "contraindicated", ENV)
    sent = capsule_keys.decode_sent(open_key(world, vault, reply))
    assert sent == {CARD.name: keys_of(world.sealed, CARD.name)}
    assert base64.b64encode(world.sealed.data_key) not in open_key(world, vault, reply), "the data key stays here"


def keys_of(sealed, table):
    groups = range(len(sealed.tables[0].groups))
    keys = {number: capsule_keys.group_key(sealed.data_key, table, number) for number in groups}
    return TableKeys(capsule_keys.table_secret(sealed.data_key, table), keys)


def open_key(world, vault, reply, **changes):
    fields = {
        "contract": world.digest,
        "manifest": world.sealed.manifest_digest,
        "broker": world.broker_key.did,
        "vault_id": vault.key.did,
        "binding": vault.binding,
        "epoch": reply.epoch,
    } | changes
    sealed = base64.b64decode(reply.keys[world.sealed.manifest_digest])
    return SUITE.decrypt(sealed, vault.hpke, info=data_key_info(**fields))


@pytest.mark.parametrize("field", ["contract", "manifest", "broker", "vault_id", "binding", "epoch"])
def test_a_sealed_data_key_opens_under_exactly_its_circumstances(world, field):
    vault = Vault(world)
    reply = vault.session()
    other = {"binding": b"\0" * 48, "epoch": 2}.get(field, "sha256:other")
    with pytest.raises(InvalidTag):
        open_key(world, vault, reply, **{field: other})


def test_a_hello_serves_one_session_only(world):
    vault = Vault(world)
    request = vault.session_request(vault.offer(vault.hello()))
    assert vault.ask("session", request).status == "ok"
    again = vault.ask("session", request)
    assert (again.status, again.keys, again.admission) == ("evidence.rejected", {}, None)
    assert "session.hello" in again.reason


def test_a_hello_grows_old(world, monkeypatch):
    vault = Vault(world)
    request = vault.session_request(vault.offer(vault.hello()))
    now = world.broker._hellos._monotonic()
    monkeypatch.setattr(world.broker._hellos, "_monotonic", lambda: now + 61)
    assert vault.ask("session", request).status == "evidence.rejected"


def test_a_flood_of_hellos_leaves_nothing_behind_and_pushes_nobody_out(world):
    vault = Vault(world)
    request = vault.session_request(vault.offer(vault.hello()))
    before = dict(vars(world.broker._hellos))
    for number in range(3000):
        world.broker.hello(canonical.encode({"contract": world.digest, "vault_id": f"did:key:{number}"}))
    assert vars(world.broker._hellos) == before
    assert world.broker._hellos._used == {}
    assert vault.ask("session", request).status == "ok"


def test_strangers_do_not_void_a_hello_that_waits(world, monkeypatch):
    clock_s = [1000.0]
    monkeypatch.setattr(world.broker._hellos, "_monotonic", lambda: clock_s[0])
    for asked_at in (1020.0, 1049.0):  # at the beginning and at the end of a half of its life
        clock_s[0] = asked_at
        vault = Vault(world)
        told = vault.hello()
        clock_s[0] += 30.0
        assert vault.hello() != told, "who asks late has time enough all the same"
        assert vault.ask("session", vault.session_request(vault.offer(told))).status == "ok"


def test_only_a_vault_uses_its_hello_up(world, monkeypatch):
    vault, other = Vault(world), Vault(world)
    told = vault.hello()
    assert other.session().status == "ok"
    assert vault.hello() == told
    refused = vault.session_request(vault.offer(other.hello()))
    assert vault.ask("session", refused).status == "evidence.rejected"
    assert vault.hello() != told  # an attempt is an attempt
    assert vault.session().status == "ok"
    now = world.broker._hellos._monotonic()
    monkeypatch.setattr(world.broker._hellos, "_monotonic", lambda: now + 61)
    assert other.session().status == "ok"
    assert {key[1] for key in world.broker._hellos._used} == {other.key.did}, "what is too old is forgotten"


def test_a_question_for_a_hello_is_short(world):
    body = canonical.encode({"contract": world.digest, "vault_id": "x" * MAX_QUESTION})
    with pytest.raises(MalformedError, match=r"ledger\.request"):
        world.broker.hello(body)


def test_a_hello_of_another_vault_does_not_count(world):
    vault, other = Vault(world), Vault(world)
    request = vault.session_request(vault.offer(other.hello()))
    assert vault.ask("session", request).status == "evidence.rejected"


@pytest.mark.parametrize(
    "evidence",
    [{"env": "sha384:" + "cd" * 48}, {"debug": True}, {"contract": "sha256:" + "0" * 64}],
    ids=["other code", "debug", "other contract"],
)
def test_evidence_the_policy_does_not_accept(world, evidence):
    reply = Vault(world).session(**evidence)
    assert (reply.status, reply.keys, reply.admission) == ("evidence.rejected", {}, None)


def test_evidence_of_an_unknown_host(world):
    world.simulator = SigningKey.generate()
    assert "appraisal.instance" in Vault(world).session().reason


@pytest.mark.parametrize("stolen", ["offer", "hpke key", "offer and hpke key"])
def test_evidence_must_speak_for_the_keys_of_the_request(world, stolen):
    victim, thief = Vault(world), Vault(world)
    if stolen == "offer":
        request = thief.session_request(victim.offer(thief.hello()))
    elif stolen == "hpke key":
        request = thief.session_request(thief.offer(thief.hello()), vault_hpke=victim.hpke_public)
    else:
        request = thief.session_request(victim.offer(thief.hello()), vault_hpke=victim.hpke_public)
    reply = thief.ask("session", request)
    assert (reply.status, reply.keys) == ("evidence.rejected", {})
    assert "session.offer" in reply.reason


def test_simulated_evidence_needs_the_contracts_clause(make_world):
    reply = Vault(make_world(accept_simulated=False)).session()
    assert (reply.status, reply.keys) == ("evidence.rejected", {})
    assert "appraisal.simulated" in reply.reason


def test_simulated_evidence_needs_the_policys_word(make_world):
    policy = write_policy("no", tees=("simulator",), simulated=False, env_digests=(ENV,))
    assert "appraisal.simulated" in Vault(make_world(policy=policy)).session().reason


def test_a_simulated_enclave_never_gets_production_data(make_world):
    reply = Vault(make_world(grade="production")).session()
    assert (reply.status, reply.keys) == ("evidence.rejected", {})
    assert "session.grade" in reply.reason


def test_a_changed_policy_admits_nobody(world):
    world.home.policy_file.write_text(world.policy + "\n# looser\n")
    assert "contract.policy" in Vault(world).session().reason


def test_unknown_contract(world):
    vault = Vault(world)
    request = vault.session_request(vault.offer(vault.hello()), contract="sha256:" + "0" * 64)
    assert vault.ask("session", request).status == "contract.unknown"


def test_a_contract_that_names_another_broker(world):
    elsewhere = (msgspec.structs.replace(world.contract.brokers[0], did=SigningKey.generate().did),)
    document = signing.sign_contract(
        msgspec.structs.replace(world.contract, brokers=elsewhere), world.provider, world.analyst
    )
    world.digest = world.home.contracts.add(document, now=clock.text(world.now))
    assert Vault(world).session().status == "contract.unknown"


# Signatures ------------------------------------------------------------------------------------------


def test_requests_without_the_vaults_own_signature_are_refused(world, vault):
    request = vault.append_request(vault.entry("c1"))
    good = msgspec.json.decode(vault.sign(request), type=envelope.Envelope)
    stranger, other = SigningKey.generate(), vault.append_request(vault.entry("c2"))
    forged = [
        msgspec.structs.replace(good, signatures=()),
        envelope.seal(REQUEST_TYPE, canonical.encode(request), stranger),
        envelope.add_signature(good, stranger),
        envelope.seal("application/json", canonical.encode(request), vault.key),
        msgspec.structs.replace(good, payload=base64.b64encode(canonical.encode(other)).decode()),
    ]
    for document in forged:
        with pytest.raises(SignatureError):
            world.broker.append(canonical.encode(document))
    assert vault.tip().size == 0


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"payloadType":1}', b"[" * 100_000])
def test_nonsense_is_malformed(world, body):
    for act in (world.broker.session, world.broker.append, world.broker.settle, world.broker.tip, world.broker.hello):
        with pytest.raises(MalformedError):
            act(body)


def test_a_request_for_one_operation_does_not_do_another(world, vault):
    with pytest.raises(MalformedError):
        world.broker.settle(vault.sign(vault.append_request(vault.entry("c1"))))


def test_a_vault_that_was_never_admitted(world):
    stranger = Vault(world)
    stranger.epoch = 1
    for reply in (stranger.append("c1"), stranger.settle("c1", "x"), stranger.tip()):
        assert reply.status == "session.unknown"
    assert world.vault().tip().size == 0


def test_a_stranger_learns_nothing_about_an_account(world, vault):
    """Anybody can make a key and sign: without a session that buys no sums, sizes or limits."""
    assert vault.append("c1").status == "ok"
    stranger = Vault(world)
    stranger.epoch = 1
    for reply in (stranger.append("c1"), stranger.append("c2"), stranger.settle("c1", "x"), stranger.tip()):
        assert reply.status == "session.unknown"
        assert (reply.size, reply.root, reply.used, reply.limits, reply.sealed) == (
            0,
            "",
            Used(),
            Limits(0, 0, 0, 0),
            "",
        )
        assert {reply.spent, reply.limit, reply.contract_spent, reply.analyst_spent, reply.analyst_limit} == {"0"}


def test_every_reply_is_signed_and_bound(world, vault):
    body = world.broker.append(vault.sign(request := vault.append_request(vault.entry("c1"))))
    document = msgspec.json.decode(body, type=envelope.Envelope)
    assert [signature.keyid for signature in document.signatures] == [world.broker_key.did]
    reply = vault.believe(body, request)
    assert (reply.broker, reply.time, reply.lease) == (
        world.broker_key.did,
        "2026-06-01T00:00:00Z",
        "2026-06-01T01:00:00Z",
    )


# Accounts --------------------------------------------------------------------------------------------


def test_a_charge_moves_the_tip_exactly(world, vault):
    reply = vault.append("c1", "1/1000")
    entry = canonical.encode(vault.entry("c1", "1/1000"))
    assert (reply.status, reply.size, reply.spent, reply.contract_spent, reply.analyst_spent) == (
        "ok", 1, "1/1000", "1/1000", "1/1000"
    )  # fmt: skip
    assert reply.root == log.root_text(log.leaf_hash(entry))
    assert (Fraction(reply.limit), Fraction(reply.analyst_limit)) == (TOTAL, TOTAL / 2)
    assert (reply.used, reply.limits) == (Used(1, 64, 2, 0), world.contract.limits)


def test_the_same_charge_again_costs_nothing_for_ever(world, vault):
    first = vault.append("c1")
    vault.append("c2")
    world.restart()
    again = vault.append("c1")
    assert again.status == "ok"
    assert (again.size, again.spent, again.used) == (2, "1/500", Used(2, 128, 4, 0))
    assert Fraction(first.spent) == Fraction(1, 1000)


@pytest.mark.parametrize("change", [{"rho": "1/999"}, {"plan": "sha256:other"}, {"analyst": "did:key:other"}])
def test_a_charge_id_names_one_entry(vault, change):
    vault.append("c1")
    reply = vault.append("c1", **change)
    assert (reply.status, reply.size) == ("charge.conflict", 1)


def test_account_and_analyst_limits(make_world):
    world = make_world(analyst_limits=())
    vault = world.vault()
    assert vault.append("big", str(TOTAL)).status == "ok"
    assert vault.append("tiny", "1/1000000000").status == "budget.exhausted"
    world = make_world()
    vault = world.vault()
    assert vault.append("half", str(TOTAL / 2)).status == "ok"
    reply = vault.append("tiny", "1/1000000000")
    assert (reply.status, reply.size) == ("limit.analyst", 1)
    assert vault.append("half", str(TOTAL / 2)).status == "ok"  # paid already


ONE = Usage(rows=64, compute=2, models=1)


@pytest.mark.parametrize(("name", "of_one"), [("releases", 1), ("rows", 64), ("compute", 2), ("models", 1)])
def test_every_limit_at_zero_at_the_limit_and_beyond(make_world, name, of_one):
    status = f"limit.{name}"
    reply = (vault := make_world(limits=limited(**{name: 0})).vault()).append("c1", usage=ONE)
    assert (reply.status, reply.size, reply.used) == (status, 0, Used())
    assert vault.tip().size == 0, "what is refused is not charged"
    assert make_world(limits=limited(**{name: of_one - 1})).vault().append("c1", usage=ONE).status == status
    world = make_world(limits=limited(**{name: 2 * of_one}))
    vault = world.vault()
    assert [vault.append(f"c{n}", usage=ONE).status for n in range(3)] == ["ok", "ok", status]
    assert vault.append("c1", usage=ONE).status == "ok", "a retry is known and counts nothing"
    assert vault.settle("c1", "receipt").used == Used(2, 128, 4, 2)
    world.restart()
    again = world.vault()
    reply = again.append("c2", usage=ONE)
    assert (reply.status, reply.size, reply.used) == (status, 2, Used(2, 128, 4, 2))
    reply = again.append("c1", usage=ONE)
    assert (reply.status, reply.sealed, reply.used) == ("ok", "receipt", Used(2, 128, 4, 2))
    assert reply.limits == world.contract.limits


def test_one_use_more_than_is_left_is_refused_whole(make_world):
    """Nothing of a release that does not fit is counted, so a smaller one still fits."""
    vault = make_world(limits=limited(rows=100)).vault()
    assert vault.append("c1", usage=Usage(64, 1, 0)).status == "ok"
    assert vault.append("c2", usage=Usage(37, 1, 0)).status == "limit.rows"
    assert vault.append("c3", usage=Usage(36, 1, 0)).used == Used(2, 100, 2, 0)
    assert vault.append("c4", usage=Usage(0, 1, 0)).status == "ok"


@pytest.mark.parametrize("usage", [{"rows": -1}, {"compute": -5}, {"models": -1}, {"rows": 2**53 + 1}, {"rows": 0.5}])
def test_a_usage_that_would_count_back_is_malformed(world, vault, usage):
    request = msgspec.to_builtins(vault.append_request(vault.entry("c1")))
    request["entry"]["usage"] |= usage
    body = msgspec.json.encode(request)
    signed = canonical.encode(envelope.seal(REQUEST_TYPE, body, vault.key))
    with pytest.raises(MalformedError):
        world.broker.append(signed)
    assert vault.tip().used == Used()


def test_the_usage_belongs_to_the_entry(vault):
    vault.append("c1", usage=ONE)
    reply = vault.append("c1", usage=Usage(1, 1, 0))
    assert (reply.status, reply.used) == ("charge.conflict", Used(1, 64, 2, 1))


def test_a_new_contract_counts_from_zero_and_pays_from_the_same_account(make_world):
    world = make_world(limits=limited(releases=1))
    assert world.vault().append("c1").status == "ok"
    other = msgspec.structs.replace(world.contract, title="Another contract")
    world.digest = world.home.add_contract(
        signing.sign_contract(other, world.provider, world.analyst), now=clock.text(world.now)
    )
    second = world.vault()
    assert second.tip().used == Used()
    reply = second.append("c2")
    assert (reply.status, reply.used.releases, reply.spent) == ("ok", 1, "1/500")


def test_a_stranger_and_a_foreign_population_get_nothing(world, vault):
    for nobody in ("did:key:zStranger", world.provider.did, ""):
        assert vault.append("c1", analyst=nobody).status == "limit.analyst"
    reply = vault.append("c2", population="other.people")
    assert (reply.status, reply.size, reply.root) == ("budget.exhausted", 0, "")
    assert vault.tip("other.people").status == "budget.exhausted"


@pytest.mark.parametrize("rho", ["0", "-1", "1/0", "0.5", "2/4", "1e-9", " 1", "١", "1/" + "9" * 600, "nan", ""])
def test_amounts_that_are_none(world, vault, rho):
    try:
        status = vault.append("c1", rho).status
    except MalformedError:
        status = "malformed"
    assert status in ("malformed", "budget.exhausted")
    assert vault.tip().size == 0


def test_without_a_clause_no_delta_may_be_spent(vault):
    reply = vault.append("c1", delta="1/1000000")
    assert (reply.status, reply.size) == ("budget.delta", 0)
    assert reply.delta is msgspec.UNSET


def test_delta_for_keys_is_a_second_exact_sum(tmp_path):
    """A third of a millionth is granted, half of it to ana; the conversion takes place at the rest of delta."""
    granted = Budget(POPULATION, "clinic-broker", "1", "0.000001", "0.02", delta_keys="0.0000006")
    world = World(tmp_path, budgets=(granted,))
    vault = world.vault()
    rest = Fraction("0.0000004")
    for number in (1, 2, 3):
        reply = vault.append(f"c{number}", delta="1/10000000")
        assert (reply.status, Fraction(reply.deltas.analyst_spent)) == ("ok", Fraction(number, 10**7))
    assert Fraction(reply.limit) == rho_of_epsilon(Fraction(1), rest) < rho_of_epsilon(Fraction(1), Fraction(1, 10**6))
    assert (reply.deltas.limit, reply.deltas.analyst_limit) == ("3/5000000", "3/10000000")
    assert vault.append("c4", delta="1/10000000000").status == "budget.delta"
    assert vault.append("c3", delta="1/10000000").status == "ok", "a retry is charged nothing"
    assert vault.append("c3", delta="1/20000000").status == "charge.conflict"
    assert vault.append("c5").status == "ok", "what spends no delta goes on"
    world.restart()
    again = vault.tip().deltas
    assert again == vault.append("c5").deltas
    assert Fraction(again.spent) == Fraction(3, 10**7)


def test_an_entry_of_another_contract_is_refused(world, vault):
    assert vault.append("c1", contract="sha256:" + "0" * 64).status == "session.unknown"


def test_a_session_serves_one_contract(world, vault):
    """Both contracts are active and at the same epoch; the vault of one still cannot charge the other."""
    other = msgspec.structs.replace(world.contract, title="Another contract")
    first = world.digest
    world.digest = world.home.add_contract(
        signing.sign_contract(other, world.provider, world.analyst), now=clock.text(world.now)
    )
    second = world.vault()
    assert second.epoch == vault.epoch == 1
    assert vault.append("c1").status == "session.unknown"
    assert vault.append("c1", contract=first).status == "ok"
    assert second.settle("c1", "receipt").status == "charge.conflict"


def test_a_new_session_fences_the_old_vault(world):
    old = world.vault()
    old.append("c1")
    new = world.vault()
    assert new.epoch == old.epoch + 1
    for reply in (old.append("c1"), old.append("c2"), old.settle("c1", "receipt"), old.tip()):
        assert reply.status == "session.fenced"
    old.epoch = new.epoch  # lying about the epoch does not help
    assert old.append("c2").status == "session.fenced"
    assert (new.append("c1").status, new.tip().size) == ("ok", 1)


def test_a_charge_is_settled_once(world, vault):
    vault.append("c1")
    assert vault.settle("c1", "first").status == "ok"
    assert vault.settle("c1", "first").status == "ok"
    second = vault.settle("c1", "second")
    assert (second.status, second.sealed) == ("settled", "first")
    world.restart()
    assert vault.append("c1").sealed == "first"


def test_only_a_charge_of_this_contract_can_be_settled(vault):
    assert vault.settle("never", "receipt").status == "charge.conflict"
    vault.append("c1")
    assert vault.settle("c1", "receipt", population="other").status == "charge.conflict"


def test_one_release_on_two_populations_counts_once(make_world):
    budgets = tuple(Budget(name, "clinic-broker", "1", "0.000001", "0.02") for name in (POPULATION, "clinic.staff"))
    vault = make_world(budgets=budgets, analyst_limits=(), limits=limited(releases=1)).vault()
    assert vault.append("c1").used == Used(1, 64, 2, 0)
    reply = vault.append("c1", population="clinic.staff")
    assert (reply.status, reply.used) == ("ok", Used(1, 64, 2, 0)), "and is not refused where it is counted already"
    assert vault.append("c2").status == "limit.releases"


def test_two_analysts_have_their_own_part(make_world):
    world = make_world()
    vault = world.vault()
    assert Fraction(vault.append("c1", str(TOTAL / 2)).analyst_limit) == TOTAL / 2
    assert AnalystLimit("ana", POPULATION, "1/2") in world.contract.analyst_limits


# The provider's decisions and the time ---------------------------------------------------------------


def test_suspension_stops_every_release_and_can_be_lifted(world, vault):
    vault.append("c1")
    decide(world, "suspended", "an audit")
    reply = vault.append("c2")
    assert reply.status == "contract.inactive"
    assert "an audit" in reply.reason
    assert vault.settle("c1", "receipt").status == "contract.inactive"
    decide(world, "active")
    assert vault.append("c2").status == "ok"


def test_revocation_is_final(world, vault):
    decide(world, "revoked")
    assert vault.append("c1").status == "contract.inactive"
    with pytest.raises(ContractError, match=r"contract\.state"):
        decide(world, "active")
    world.restart()
    assert vault.append("c1").status == "contract.inactive"


def decide(world, state, reason=""):
    world.home.contracts.decide(world.digest, Decision(state, clock.text(world.now), reason))


def test_expiry_by_the_brokers_time(world, vault):
    world.later(days=365)
    assert vault.append("c1").status == "contract.inactive"


def test_the_time_of_a_broker_never_goes_back(world, vault):
    world.later(hours=1)
    assert vault.tip().time == "2026-06-01T01:00:00Z"
    world.later(hours=-2)
    assert vault.tip().time == "2026-06-01T01:00:00Z"


def test_the_lease_ends_with_the_contract(world, vault):
    world.later(days=213, hours=23, minutes=30)
    assert vault.tip().lease == "2027-01-01T00:00:00Z"


def test_a_tampered_contract_file_is_an_unknown_contract(world, vault):
    path = next(world.home.contracts._directory.glob("*.json"))
    path.write_text(path.read_text().replace('"sig":"', '"sig":"A', 1))
    assert vault.append("c1").status == "contract.unknown"
