"""How contracts end at a broker: amended, completed, expired; and what is done with the keys then."""

from __future__ import annotations

import msgspec
import pytest
from provider_world import START, World

from cloister.contract import signing
from cloister.contract.clauses import Obligation
from cloister.contract.states import Decision
from cloister.contract.terms import Party
from cloister.errors import ContractError
from cloister.provider import clock, obligations
from cloister.provider.__main__ import main
from cloister.wire.identity import SigningKey

replace = msgspec.structs.replace
NOW = clock.text(START)
AFTER = "2027-01-01T00:00:00Z"
DUTIES = (Obligation("completion", "destroy-keys"), Obligation("expiry", "destroy-keys"))


def amended(world: World, *keys: SigningKey, **changes: object):
    contract = replace(world.contract, **{"name": "clinic-2026-b", "amends": world.digest, **changes})
    return signing.sign_contract(contract, *(keys or (world.provider, world.analyst)))


def states(world: World, *digests: str) -> list[str]:
    return [world.home.contracts.get(digest).state(NOW) for digest in digests]


def test_an_amendment_ends_the_former_and_keeps_what_was_spent(world: World) -> None:
    before = world.vault()
    assert before.append("c1", "1/100").status == "ok"
    spent = before.tip().spent
    after = world.home.add_contract(amended(world), now=NOW)
    assert states(world, world.digest, after) == ["revoked", "active"]
    reply = before.append("c2")
    assert (reply.status, "amended" in reply.reason) == ("contract.inactive", True)
    world.digest = after
    vault = world.vault()
    tip = vault.tip()
    assert (tip.spent, tip.contract_spent, tip.used.releases) == (spent, "0", 0)
    reply = vault.append("c3", "1/100")
    assert (reply.status, reply.spent, reply.contract_spent) == ("ok", "1/50", "1/100")


def test_an_amendment_taken_up_twice_changes_nothing(world: World) -> None:
    document = amended(world)
    after = world.home.add_contract(document, now=NOW)
    world.home.contracts.decide(after, Decision("suspended", NOW))
    assert world.home.add_contract(document, now=NOW) == after
    assert states(world, world.digest) == ["revoked"]


def test_an_amendment_without_a_provider_of_the_former_is_refused(world: World) -> None:
    other = SigningKey.generate()
    parties = (Party("clinic", other.did, "provider"), world.contract.parties[1])
    with pytest.raises(ContractError, match=r"contract\.amends"):
        world.home.add_contract(amended(world, other, world.analyst, parties=parties), now=NOW)
    assert states(world, world.digest) == ["active"]


def test_what_was_revoked_does_not_come_back_as_an_amendment(world: World) -> None:
    world.home.contracts.decide(world.digest, Decision("revoked", NOW))
    with pytest.raises(ContractError, match=r"contract\.amends"):
        world.home.add_contract(amended(world), now=NOW)


def test_an_unsigned_amendment_ends_nothing(world: World) -> None:
    with pytest.raises(ContractError, match=r"contract\.unsigned"):
        world.home.add_contract(amended(world, world.provider), now=NOW)
    assert states(world, world.digest) == ["active"]


def held(world: World) -> bool:
    return world.home.data_keys.get(world.sealed.manifest_digest) is not None


def test_completion_destroys_the_keys(make_world) -> None:
    world = make_world(obligations=DUTIES)
    vault = world.vault()
    done = obligations.complete(world.home, world.digest, now=NOW, reason="the study is published")
    assert done.gone == (world.sealed.manifest_digest,)
    assert not held(world)
    reply = vault.append("c1")
    assert reply.status == "contract.inactive"
    assert "published" in reply.reason
    with pytest.raises(ContractError, match=r"contract\.state"):
        world.home.contracts.decide(world.digest, Decision("active", NOW))
    with pytest.raises(ContractError, match=r"capsule\.shredded"):
        world.home.add_contract(amended(world, obligations=msgspec.UNSET, amends=msgspec.UNSET), now=NOW)


def test_a_key_that_another_living_contract_needs_is_kept(make_world) -> None:
    world = make_world(obligations=DUTIES)
    other = replace(world.contract, name="other", obligations=msgspec.UNSET)
    digest = world.home.add_contract(signing.sign_contract(other, world.provider, world.analyst), now=NOW)
    assert obligations.complete(world.home, world.digest, now=NOW).kept == (world.sealed.manifest_digest,)
    assert held(world)
    world.home.contracts.decide(digest, Decision("revoked", NOW))
    assert obligations.complete(world.home, world.digest, now=NOW).gone == (world.sealed.manifest_digest,)


def test_without_the_obligation_the_keys_stay(world: World) -> None:
    assert obligations.complete(world.home, world.digest, now=NOW).gone == ()
    assert obligations.sweep(world.home, now=AFTER) == ()
    assert held(world)


def test_expiry_destroys_the_keys_once(make_world) -> None:
    world = make_world(obligations=DUTIES)
    assert obligations.sweep(world.home, now="2026-12-31T23:59:59Z") == ()
    assert held(world)
    (done,) = obligations.sweep(world.home, now=AFTER)
    assert done.gone == (world.sealed.manifest_digest,)
    assert not held(world)
    assert obligations.sweep(world.home, now=AFTER) == ()


def test_a_broker_sweeps_when_it_starts(make_world, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(obligations=DUTIES, not_after="2026-06-02T00:00:00Z")
    monkeypatch.setattr("cloister.provider.__main__.Broker", lambda _home: (_ for _ in ()).throw(_stopped()))
    # What the machine's clock says decides, and it is past this end or it is not.
    over = clock.text(clock.Clock().now()) >= world.contract.not_after
    assert main(["--home", str(world.home.directory)]) == 1
    assert held(world) is not over


def _stopped() -> ContractError:
    return ContractError("test.stopped", "far enough")


def test_completing_twice_is_not_an_error_but_an_unknown_contract_is(make_world) -> None:
    world = make_world(obligations=DUTIES)
    obligations.complete(world.home, world.digest, now=NOW)
    assert obligations.complete(world.home, world.digest, now=NOW).gone == ()
    with pytest.raises(ContractError, match=r"contract\.unknown"):
        obligations.complete(world.home, "sha256:" + "0" * 64, now=NOW)
