"""The office: every cell of the matrix of actions and roles, second persons, replays, revoked identities."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from log_world import checked, exported, spend
from provider_world import POPULATION, World

from cloister.attest import releases
from cloister.attest.releases import References, SoftwareRelease
from cloister.contract.states import Decision
from cloister.errors import MalformedError, RefusedError, SignatureError
from cloister.provider import catalogue, clock, files, revoked, roles, schema, software
from cloister.provider.office import Office
from cloister.receipt.office import ANSWER_TYPE, ASK_TYPE, Answer, Ask
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, Signature, open_envelope, seal
from cloister.wire.identity import SigningKey

START = "2026-06-01T00:00:00Z"
SIGNER = SigningKey.generate()
CODE = "sha384:" + "cd" * 48
RELEASE = releases.sign_release(
    SoftwareRelease(
        "1.2", SIGNER.did, CODE, START, (References("snp", (f"measurement={'0' * 96}",), covers_code=True),)
    ),
    SIGNER,
)
DOCS = Path(__file__).parents[2] / "docs" / "roles.md"


class Staff:
    """One person per role, and one with none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.office = Office(world.broker)
        self.keys = {role: SigningKey.generate() for role in (*roles.ROLES, "nobody", "second")}
        self.keys["analyst"] = world.analyst
        for role in roles.ROLES:
            roles.grant(world.home, self.keys[role].did, role)
        roles.grant(world.home, self.keys["second"].did, "space_admin")

    def sign(
        self, who: str, action: str, *, key: SigningKey | None = None, changes: dict | None = None, **arguments
    ) -> bytes:
        fields = {"request": secrets.token_hex(8), "broker": self.world.broker.did, "actor": self.keys[who].did}
        fields |= {"time": clock.text(self.world.now), "action": action, "arguments": arguments, **(changes or {})}
        return canonical.encode(seal(ASK_TYPE, canonical.encode(Ask(**fields)), key or self.keys[who]))

    def send(self, body: bytes) -> Answer:
        document = msgspec.json.decode(self.office.ask(body), type=Envelope)
        return msgspec.json.decode(open_envelope(document, ANSWER_TYPE, self.world.broker.did), type=Answer)

    def ask(self, who: str, action: str, **arguments) -> Answer:
        return self.send(self.sign(who, action, **arguments))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("office"))
    spend(world, 1)
    yield Staff(world)
    world.broker.close()


@pytest.fixture
def staff(make_world):
    return Staff(make_world())


def arguments(world: World, action: str) -> dict:
    """Arguments with which an action can be asked for."""
    manifest, stranger = world.sealed.manifest_digest, SigningKey.generate().did
    return {
        "catalogue.show": {"manifest": manifest},
        "catalogue.submit": {"manifest": manifest, "card": card(world), "provider": world.provider.did},
        "catalogue.publish": {"manifest": manifest},
        "catalogue.deprecate": {"manifest": manifest},
        "catalogue.withdraw": {"manifest": manifest},
        "capsule.shred": {"manifest": manifest, "end_contracts": True, "reason": "consent"},
        "release.veto": {"release": "1.2", "reason": "leaks"},
        "contract.suspend": {"contract": world.digest},
        "contract.resume": {"contract": world.digest},
        "contract.revoke": {"contract": world.digest},
        "identity.revoke": {"did": stranger},
        "role.grant": {"did": stranger, "role": "auditor"},
        "role.remove": {"did": stranger, "role": "auditor"},
        "log.purge": {"class": "log", "before": "2020-01-01T00:00:00Z"},
        "request.approve": {"request": "no such"},
        "request.reject": {"request": "no such"},
    }.get(action, {})


def card(world: World) -> dict:
    return json.loads((world.sealed.directory / "card.json").read_bytes())


def as_before(staff: Staff, action: str) -> None:
    """Bring the world to the state in which an action can be done."""
    world = staff.world
    with world.broker.accounts.database.transaction() as db:
        db.execute(sa.delete(schema.catalogue))
        db.execute(sa.delete(schema.requests))
        if action.startswith("catalogue.") and action not in {"catalogue.search", "catalogue.submit"}:
            listed = Envelope(**{**card(world), "signatures": tuple(Signature(**s) for s in card(world)["signatures"])})
            catalogue.submit(db, world.sealed.manifest_digest, listed, world.provider.did, visible=["*"])
            if action != "catalogue.publish":
                catalogue.move(db, world.sealed.manifest_digest, "published")
    if action == "capsule.shred":
        with_key(world)
    if action == "release.veto":
        software.add(world.home, RELEASE)
    state = "suspended" if action == "contract.resume" else "active"
    files.write_private(world.home.contracts._path(world.digest, "state"), canonical.encode(Decision(state, START)))


def with_key(world: World) -> None:
    """Have the key again, whatever was destroyed by the cell before."""
    for mark in (world.home.directory / "keys").glob("*.gone"):
        mark.unlink()
    world.home.add_capsule(world.sealed)


def key_of(world: World) -> object:
    return world.home.data_keys.get(world.sealed.manifest_digest)


@pytest.mark.parametrize("role", [*roles.ROLES, "nobody"])
@pytest.mark.parametrize("action", roles.ACTIONS)
def test_every_cell_of_the_matrix(shared, action, role):
    as_before(shared, action)
    answer = shared.ask(role, action, **arguments(shared.world, action))
    if role not in roles.ACTIONS[action].roles:
        assert (answer.status, answer.code, answer.result) == ("refused", "role.denied", None)
    elif action in {"request.approve", "request.reject"}:
        assert answer.code == "request.unknown"
    else:
        assert answer.status == ("pending" if roles.ACTIONS[action].approvers else "done"), answer.reason


@pytest.mark.parametrize("role", [*roles.ROLES, "nobody", "second"])
@pytest.mark.parametrize("action", [name for name, action in roles.ACTIONS.items() if action.approvers])
def test_every_cell_of_approval(shared, action, role):
    """Who may approve is in the table too; and nobody his own request."""
    as_before(shared, action)
    asker = next(role for role in roles.ROLES if role in roles.ACTIONS[action].roles)
    name = shared.ask(asker, action, **arguments(shared.world, action)).result
    answer = shared.ask(role, "request.approve", **name)
    held = {"space_admin"} if role == "second" else {role}
    if role == asker:
        assert answer.code in {"approval.own", "role.denied"}
    elif held & roles.ACTIONS[action].approvers:
        assert answer.status == "done", answer.reason
    else:
        assert answer.code == "role.denied"


def test_the_table_in_the_docs_is_the_table():
    assert roles.matrix() in DOCS.read_text(encoding="utf-8")


def test_what_takes_two_takes_two(staff):
    """The request waits; its asker cannot approve it, nor a role that is not for it; afterwards it is done, once."""
    world, newcomer = staff.world, SigningKey.generate().did
    asked = staff.ask("space_admin", "role.grant", did=newcomer, role="auditor")
    assert asked.status == "pending"
    assert roles.read(world.home).of(newcomer) == frozenset()
    name = asked.result
    listed = staff.ask("auditor", "request.list").result
    assert [{"request": one["request"], "digest": one["digest"]} for one in listed] == [name]
    assert staff.ask("space_admin", "request.approve", **name).code == "approval.own"
    assert staff.ask("auditor", "request.approve", **name).code == "role.denied"
    assert staff.ask("node_admin", "request.approve", **name).code == "role.denied"
    assert roles.read(world.home).of(newcomer) == frozenset()
    assert staff.ask("second", "request.approve", **name).status == "done"
    assert roles.read(world.home).of(newcomer) == {"auditor"}
    assert staff.ask("second", "request.approve", **name).code == "request.unknown"


def test_an_approval_is_of_what_was_shown_and_not_of_a_name(staff):
    """The asker takes his request back and puts another one under the same name, before the approval comes."""
    friend, foe = SigningKey.generate().did, SigningKey.generate().did
    shown = staff.ask("space_admin", "role.grant", did=friend, role="auditor").result
    assert staff.ask("space_admin", "request.reject", request=shown["request"]).status == "done"
    staff.world.later(days=1)
    staff.ask("node_admin", "broker.status")  # what is stale is forgotten now
    named = {"changes": {"request": shown["request"]}}
    again = staff.send(staff.sign("space_admin", "role.grant", **named, did=foe, role="auditor"))
    assert again.code == "request.twice"
    assert staff.ask("second", "request.approve", **shown).code == "request.unknown"
    # Even where the name is free, the approval fits only what was shown.
    with staff.world.broker.accounts.database.transaction() as db:
        db.execute(sa.delete(schema.requests))
    again = staff.send(staff.sign("space_admin", "role.grant", **named, did=foe, role="auditor"))
    assert again.status == "pending"
    for digest in ({"digest": shown["digest"]}, {}, {"digest": None}):
        refused = staff.ask("second", "request.approve", request=shown["request"], **digest)
        assert refused.code == "approval.digest"
    assert roles.read(staff.world.home).of(foe) == frozenset()


def test_a_request_does_not_wait_for_ever(staff):
    one, two = (
        staff.ask("space_admin", "role.grant", did=SigningKey.generate().did, role="auditor").result for _ in range(2)
    )
    staff.world.later(days=6)
    assert staff.ask("second", "request.approve", **one).status == "done"
    staff.world.later(days=1, seconds=1)
    assert staff.ask("second", "request.approve", **two).code == "approval.expired"


def test_a_rejected_request_is_gone_and_one_may_take_back_ones_own(staff):
    for who in ("space_admin", "second"):
        name = staff.ask("space_admin", "role.grant", did=SigningKey.generate().did, role="auditor").result
        assert staff.ask(who, "request.reject", **name).result == {"rejected": name["request"]}
        assert staff.ask("second", "request.approve", **name).code == "request.unknown"


def test_who_lost_his_role_has_asked_for_nothing(staff):
    name = staff.ask("space_admin", "role.grant", did=SigningKey.generate().did, role="auditor").result
    assert staff.ask("second", "role.remove", did=staff.keys["space_admin"].did, role="space_admin").status == "done"
    assert staff.ask("second", "request.approve", **name).code == "approval.lapsed"


def test_stopping_takes_one_and_starting_again_two(staff):
    world = staff.world
    vault = world.vault()
    assert staff.ask("node_admin", "contract.suspend", contract=world.digest, reason="audit").status == "done"
    assert vault.append("c1").status == "contract.inactive"
    asked = staff.ask("node_admin", "contract.resume", contract=world.digest)
    assert asked.status == "pending"
    assert vault.append("c1").status == "contract.inactive"
    assert staff.ask("space_admin", "request.approve", **asked.result).status == "done"
    assert vault.append("c1").status == "ok"


def test_a_revoked_analyst_is_refused_at_the_next_message(staff):
    vault = staff.world.vault()
    assert vault.append("c1").status == "ok"
    assert staff.ask("space_admin", "identity.revoke", did=staff.world.analyst.did, reason="left").status == "done"
    reply = vault.append("c2")
    assert (reply.status, reply.size) == ("contract.inactive", 0)
    assert vault.tip().status == "contract.inactive"
    assert staff.ask("analyst", "broker.status").code == "role.denied"


def test_a_revoked_vault_is_refused(staff):
    vault = staff.world.vault()
    revoked.revoke(staff.world.home, vault.key.did, now="2026-06-01T00:00:00Z")
    assert vault.append("c1").status == "contract.inactive"
    assert staff.world.vault().append("c1").status == "ok"


def test_a_list_of_the_revoked_that_cannot_be_read_lets_nobody_in(staff):
    vault = staff.world.vault()
    staff.world.home.revoked_file.write_bytes(b"[")
    assert vault.append("c1").status == "ledger.unavailable"


def test_replayed_stale_and_misdirected_requests(shared):
    body = shared.sign("auditor", "log.checkpoint")
    assert shared.send(body).status == "done"
    assert shared.send(body).code == "request.twice"
    with shared.world.broker.accounts.database.transaction() as db:
        kept = db.scalars(sa.select(schema.requests.c.body).where(schema.requests.c.state != "pending")).all()
    assert set(kept) == {b""}, "what does not wait is known by its name, and fills no disk"
    for seconds in (-301, 301):
        shared.world.later(seconds=seconds)
        old = shared.sign("auditor", "log.checkpoint")
        shared.world.later(seconds=-seconds)
        # The broker's clock does not go back; it stands at the latest moment it has told.
        if seconds < 0:
            assert shared.send(old).code == "request.stale"
    assert (
        shared.send(shared.sign("auditor", "log.checkpoint", changes={"broker": "did:key:x"})).code == "request.broker"
    )


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"payloadType":"x","payload":"","signatures":[]}'])
def test_what_is_no_request_is_malformed(shared, body):
    with pytest.raises((MalformedError, SignatureError)):
        shared.office.ask(body)


def test_nobody_asks_in_the_name_of_another(shared):
    with pytest.raises(SignatureError):
        shared.office.ask(shared.sign("auditor", "log.checkpoint", key=shared.keys["nobody"]))
    document = json.loads(shared.sign("auditor", "log.checkpoint"))
    document["signatures"] *= 2
    with pytest.raises(SignatureError):
        shared.office.ask(json.dumps(document).encode())


def test_nobody_controls_himself(shared):
    did = SigningKey.generate().did
    for first, second in (("auditor", "node_admin"), ("space_admin", "auditor"), ("analyst", "node_admin")):
        roles.grant(shared.world.home, did, first)
        with pytest.raises(RefusedError) as stopped:
            roles.grant(shared.world.home, did, second)
        assert stopped.value.code == "roles.apart"
        roles.remove(shared.world.home, did, first)


def test_an_auditor_gets_what_verifies_and_nothing_else(shared):
    answer = shared.ask("auditor", "audit.export")
    lines = answer.result["export"].encode().splitlines(keepends=True)
    assert checked(lines, broker=shared.world.broker.did).sound
    assert b"sealed-0" not in canonical.encode(answer)


def test_own_account_only(shared):
    mine = shared.ask("analyst", "account.own").result
    assert [(one["population"], one["spent"]) for one in mine] == [(POPULATION, "1/1000")]
    other = SigningKey.generate()
    roles.grant(shared.world.home, other.did, "analyst")
    shared.keys["other"] = other
    assert shared.ask("other", "account.own").result == []


def test_decisions_and_approvals_are_in_the_log(staff):
    staff.ask("node_admin", "contract.suspend", contract=staff.world.digest)
    asked = staff.ask("node_admin", "contract.resume", contract=staff.world.digest)
    staff.ask("space_admin", "request.approve", **asked.result)
    staff.ask("nobody", "audit.export")
    kinds = checked(exported(staff.world)).by_kind
    assert (kinds["decision"], kinds["approval"], kinds["suppressed"]) == (2, 1, 1)
    assert kinds["request"] == 3


# Catalogue -------------------------------------------------------------------------------------------


def test_what_somebody_may_not_see_does_not_exist_for_him(staff):
    world, manifest = staff.world, staff.world.sealed.manifest_digest
    hidden = {"manifest": manifest, "card": card(world), "provider": world.provider.did, "visible": ["did:key:friend"]}
    nothing = staff.ask("analyst", "catalogue.show", manifest="sha256:" + "0" * 64)
    assert staff.ask("node_admin", "catalogue.submit", **hidden).status == "done"
    asked = staff.ask("node_admin", "catalogue.publish", manifest=manifest)
    staff.ask("space_admin", "request.approve", **asked.result)
    assert staff.ask("analyst", "catalogue.search", text="").result == []
    unseen = staff.ask("analyst", "catalogue.show", manifest=manifest)
    assert (unseen.code, unseen.reason, unseen.next_step) == (nothing.code, nothing.reason, nothing.next_step)
    assert len(staff.ask("node_admin", "catalogue.search", text="").result) == 1


def test_search_finds_by_words_what_is_published(staff):
    world, manifest = staff.world, staff.world.sealed.manifest_digest
    offered = {"manifest": manifest, "card": card(world), "provider": world.provider.did}
    staff.ask("node_admin", "catalogue.submit", **offered)
    assert staff.ask("analyst", "catalogue.search", text="visits").result == []
    name = staff.ask("node_admin", "catalogue.publish", manifest=manifest).result
    staff.ask("space_admin", "request.approve", **name)
    found = staff.ask("analyst", "catalogue.search", text="invented VISITS").result
    assert [(one["manifest"], one["state"], one["tier"]) for one in found] == [(manifest, "published", 3)]
    assert staff.ask("analyst", "catalogue.search", text="visits hospital").result == []
    staff.ask("node_admin", "catalogue.withdraw", manifest=manifest)
    assert staff.ask("analyst", "catalogue.search", text="").result == []


def test_illegal_moves_of_the_catalogue(staff):
    world, manifest = staff.world, staff.world.sealed.manifest_digest
    offered = {"manifest": manifest, "card": card(world), "provider": world.provider.did}
    assert staff.ask("node_admin", "catalogue.deprecate", manifest=manifest).code == "catalogue.unknown"
    assert staff.ask("node_admin", "catalogue.submit", **{**offered, "provider": "did:key:other"}).status == "refused"
    assert (
        staff.ask("node_admin", "catalogue.submit", **{**offered, "manifest": "sha256:" + "1" * 64}).status == "refused"
    )
    assert staff.ask("node_admin", "catalogue.submit", **offered).status == "done"
    for action in ("catalogue.submit", "catalogue.deprecate"):
        assert staff.ask("node_admin", action, **offered).code == "catalogue.state"
    assert staff.ask("node_admin", "catalogue.withdraw", manifest=manifest).status == "done"
    for action in ("catalogue.submit", "catalogue.withdraw", "catalogue.deprecate"):
        assert staff.ask("node_admin", action, **offered).code == "catalogue.state"


# Keys and software -----------------------------------------------------------------------------------


def test_a_key_is_destroyed_by_two_persons_and_recorded_as_theirs(staff):
    world, manifest = staff.world, staff.world.sealed.manifest_digest
    asked = staff.ask("node_admin", "capsule.shred", manifest=manifest, end_contracts=True, reason="consent")
    assert asked.status == "pending"
    assert key_of(world) is not None, "one person destroys nothing"
    assert staff.ask("node_admin", "request.approve", **asked.result).code == "role.denied"
    assert key_of(world) is not None
    done = staff.ask("space_admin", "request.approve", **asked.result)
    assert (done.status, done.result) == ("done", {"gone": [manifest], "ended": [world.digest]})
    assert key_of(world) is None
    assert world.home.contracts.get(world.digest).decision.state == "revoked"
    (wiped,) = [line for line in exported(world) if b'"op":"wipe"' in line]
    assert staff.keys["node_admin"].did.encode() in wiped
    assert checked(exported(world)).sound


def test_what_cannot_be_destroyed_does_not_wait(staff):
    """A living contract needs it; there is no such key; what is asked is no condition."""
    manifest = staff.world.sealed.manifest_digest
    assert staff.ask("node_admin", "capsule.shred", manifest=manifest).code == "shred.needed"
    assert staff.ask("node_admin", "capsule.shred", manifest="sha256:" + "0" * 64).code == "keys.none"
    assert staff.ask("node_admin", "capsule.shred", manifest="../broker").code == "keys.digest"
    refused = staff.ask("node_admin", "capsule.shred", manifest=manifest, end_contracts="no")
    assert refused.code == "office.argument"
    assert staff.ask("space_admin", "request.list").result == []
    assert key_of(staff.world) is not None


def test_a_veto_takes_one_person_and_is_of_the_code(staff, tmp_path):
    world = staff.world
    software.add(world.home, RELEASE)
    done = staff.ask("space_admin", "release.veto", release=releases.digest_of(RELEASE), reason="leaks")
    assert (done.status, done.result) == ("done", {"version": "1.2", "env_digest": CODE})
    assert software.read(world.home).vetoed[CODE].reason == "leaks"
    (told,) = [line for line in exported(world) if b'"op":"release.veto"' in line and b'"kind":"decision"' in line]
    assert CODE.encode() in told
    assert any(b'"op":"release.veto-launch"' in line and b"measurement=00" in line for line in exported(world))
    assert staff.keys["space_admin"].did.encode() in told


def test_a_veto_over_http_names_no_file(staff, tmp_path):
    """A path would be a file of the broker's machine, read for somebody who is not at it."""
    path = tmp_path / "release.json"
    path.write_bytes(canonical.encode(RELEASE))
    assert staff.ask("node_admin", "release.veto", release=str(path)).code == "release.unknown"
    assert staff.ask("node_admin", "release.veto", release="9.9").code == "release.unknown"
    assert software.read(staff.world.home).vetoed == {}
