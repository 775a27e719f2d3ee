"""Every bad input: the right code, an entry in a log, nothing released. One row each of ``bad_input_catalogue``.

Brokers and vaults are processes, capsules and contracts are real, and a broker's log is read as an auditor reads it:
exported and checked. The evidence of TDX is of a small Intel of the tests' own, whose root a broker is made to trust.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bad_input_catalogue import COMMAND, EVENT, PAGE, PROXY, ROWS, VAULT, Row, page
from bad_input_scene import Change, Outcome, Scene, blob_of, texts_of, with_blob
from dial_world import DialWorld
from intel_world import NOW as INTEL_NOW
from intel_world import IntelWorld
from provider_world import Vault as HandmadeVault
from provider_world import World as BrokerWorld
from vault_agent import Network
from vault_world import World, context, numbered, plan
from websockets.asyncio.server import ServerConnection, serve

from cloister.analyst.dial import EnclaveSession
from cloister.analyst.uplink import Uplink
from cloister.attest import hello as handshake
from cloister.attest import roots
from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Evidence
from cloister.attest.hello import Offer
from cloister.attest.references import CODE_REGISTERS
from cloister.contract import signing
from cloister.contract.states import Decision
from cloister.errors import CloisterError
from cloister.plan import algebra as a
from cloister.provider import checkpoints, clock, recovery
from cloister.provider import seal as sealing
from cloister.provider.broker import Broker as BrokerCore
from cloister.receipt import audit
from cloister.receipt.events import Event
from cloister.receipt.ledger import REPLY_TYPE, LedgerReply
from cloister.vault.release import release
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal, unverified_payload
from cloister.wire.identity import SigningKey

BY_KEY = {row.key: row for row in ROWS}
PAST, LATER = "2020-01-01T00:00:00Z", "2020-06-01T00:00:00Z"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("bad-input"))
    yield made
    made.close()


def rows(*starts: str) -> Any:
    """Parametrise a test with the rows whose keys begin so."""
    chosen = [row for row in ROWS if row.key.startswith(starts)]
    return pytest.mark.parametrize("row", chosen, ids=lambda row: row.key)


def holds(row: Row, found: Outcome) -> None:
    """Hold an outcome to its row."""
    assert found.code == row.code, found
    assert row.entry in found.entries, found.entries
    assert (found.charged, found.released) == (row.charged, row.released), found
    if row.why:
        assert found.reason.startswith(f"{row.why}: ") or f" {row.why}: " in found.reason, found.reason


# Evidence --------------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def spliced(evidence: Evidence, other: Callable[[bytes], Evidence]) -> Evidence:
    mine, theirs = json.loads(blob_of(evidence)), json.loads(blob_of(other(bytes(64))))
    return with_blob(evidence, canonical.encode({**mine, "signature": theirs["signature"]}))


def grown(evidence: Evidence, _other: Any) -> Evidence:
    return with_blob(evidence, blob_of(evidence) + b" " * (64 << 10))


CHANGES: dict[str, Change] = {
    "truncated": lambda evidence, _: with_blob(evidence, blob_of(evidence)[:-40]),
    "oversized": grown,
    "spliced": spliced,
    "flipped": lambda evidence, _: with_blob(
        evidence, blob_of(evidence).replace(b'"debug":false', b'"debug":true ').replace(b":true ", b":true")
    ),
    "confused": lambda evidence, _: msgspec.structs.replace(evidence, tee="tdx", format="tdx_quote_v4"),
    "replayed": lambda _, other: other(bytes(64)),
}


@rows("broker ")
def test_evidence_for_a_broker(scene: Scene, row: Row) -> None:
    holds(row, scene.run(row, change=CHANGES[row.key.partition(" ")[2]]))


def test_the_same_evidence_untouched_is_admitted(scene: Scene) -> None:
    found = scene.run(Row("", "", "", "", EVENT, "charge"), change=lambda evidence, _: evidence)
    assert (found.code, found.charged, found.released) == ("", 1, 1)


TRUSTED: list[IntelWorld] = []
"""Whose root the broker under test takes for Intel's."""


class Quoting(HandmadeVault):
    """A vault in a trust domain of the tests' own Intel; ``tamper`` is done to its quote."""

    def __init__(self, world: BrokerWorld, intel: IntelWorld, tamper: Callable[[bytes], bytes] = bytes) -> None:
        super().__init__(world)
        self._intel, self._tamper = intel, tamper
        TRUSTED[:] = [intel]

    def offer(self, hello: bytes, **_: Any) -> handshake.Offer:
        offer = super().offer(hello)
        self._intel.report_data = self.binding + bytes(16)
        quote, collateral = self._tamper(self._intel.quote()), self._intel.collateral()
        given = Evidence("tdx", "tdx_quote_v4", b64(quote), endorsements={"collateral": b64(collateral)})
        return msgspec.structs.replace(offer, evidence=given)


def tdx_policy() -> str:
    launch = IntelWorld().examine().launch
    names = ", ".join(f'"{name}={launch[name]}"' for name in CODE_REGISTERS["tdx"])
    env = json.dumps(["sha384:" + "ab" * 48])
    return (
        f'name = "tdx"\n[accept]\ntees = ["tdx"]\n[reference]\nenv_digest = {env}\nlaunch = [{names}]\n'
        "covers_code = true\n[hardware]\nevaluation = 15\n"
    )


def later_than(days: int) -> datetime:
    return INTEL_NOW + timedelta(days=days)


TDX: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes], int]] = {
    "truncated": ({}, lambda quote: quote[:600], 0),
    "oversized": ({}, lambda quote: quote + bytes(128 << 10), 0),
    "spliced": ({"vouched_key": "another"}, bytes, 0),
    "flipped": ({}, lambda quote: flipped(quote, 200), 0),
    "confused": ({}, lambda quote: quote[:2] + b"\x03" + quote[3:], 0),
    "stale": ({}, bytes, 60),
    "foreign platform": ({"info": {"fmspc": "00606A000000"}}, bytes, 0),
    "foreign signer": ({"info_signer": "somebody"}, bytes, 0),
}


@pytest.fixture
def quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerWorld]:
    packaged = roots.of
    monkeypatch.setattr(roots, "of", lambda vendor: TRUSTED[-1].roots if vendor == "intel" else packaged(vendor))
    world = BrokerWorld(tmp_path, policy=tdx_policy(), accept_simulated=False)
    world.restart()
    yield world
    world.broker.close()


def at_broker(world: BrokerWorld, vault: HandmadeVault) -> Outcome:
    """Ask for a session, and to charge in any case; return what the broker says and keeps of it."""
    reply = vault.session()
    vault.append("c1")
    found: list[Event] = []
    world.broker.journal.flush()
    lines = checkpoints.write_export(world.home, world.broker.accounts, now=world.broker.now(), actor="owner")
    report = audit.Audit(event=found.append).check(list(lines))
    assert report.sound, report.to_text()
    charged = sum(event.kind == "charge" for event in found)
    code = "" if reply.status == "ok" else reply.status
    assert bool(reply.keys) == (reply.status == "ok"), "keys are for admitted vaults"
    return Outcome(code, list(texts_of(found, world.digest, Counter())), charged, len(reply.keys), reply.reason)


@rows("tdx ")
def test_evidence_of_hardware_for_a_broker(quoted: BrokerWorld, row: Row) -> None:
    changes, tamper, days = TDX[row.key.partition(" ")[2]]
    quoted.now = later_than(days)
    quoted.restart()
    holds(row, at_broker(quoted, Quoting(quoted, IntelWorld(**changes), tamper)))


def test_the_same_hardware_untouched_is_admitted(quoted: BrokerWorld) -> None:
    quoted.now = INTEL_NOW
    quoted.restart()
    found = at_broker(quoted, Quoting(quoted, IntelWorld()))
    assert (found.code, found.charged, found.released) == ("", 1, 1), found.reason


@rows("analyst ")
def test_evidence_for_an_analyst(tmp_path: Path, row: Row, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy's own uplink, on a real WebSocket: refused, written down, and not one cell sent."""
    world, change = DialWorld(tmp_path), CHANGES[row.key.partition(" ")[2]]

    async def enclave(socket: ServerConnection) -> None:
        _end, offer = await world.offer(socket)
        document = msgspec.json.decode(offer, type=Offer)
        shown = change(document.evidence, world.attest(document.contract))
        await socket.send(canonical.encode(msgspec.structs.replace(document, evidence=shown)))
        await socket.wait_closed()

    async def story() -> Uplink:
        async with serve(enclave, "127.0.0.1", 0, compression=None) as server:
            host, port = server.sockets[0].getsockname()[:2]
            entry = world.entry(f"ws://{host}:{port}")
            uplink = Uplink(
                lambda: EnclaveSession.open(entry, mode="confidential", store=world.store), _nothing, lambda: None
            )
            uplink.send(0, (b"cell",))
            await uplink.run()
            return uplink

    with caplog.at_level(logging.WARNING, "cloister.analyst"):
        uplink = asyncio.run(story())
    assert uplink.error is not None
    found = Outcome(uplink.error.code, caplog.messages, 0, len(world.cells))
    holds(row, found)
    assert len(world.first) == 1, "nothing was sent but the hello"


async def _nothing(_frame: Any) -> None:
    return None


# Capsules and contracts ------------------------------------------------------------------------------


def swap_parts(world: World, folder: Path) -> None:
    one, two = folder / "part-0-0-0.parquet", folder / "part-0-1-0.parquet"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def swap_manifest(world: World, folder: Path) -> None:
    other = folder.with_name("other")
    sealing.seal(world.card, __import__("vault_world").visits(), other, world.anna)
    shutil.copy(other / "manifest.json", folder / "manifest.json")


@rows("capsule part", "capsule manifest")
def test_capsules(scene: Scene, row: Row, tmp_path: Path) -> None:
    world, folder = scene.world, tmp_path / "capsule"
    shutil.copytree(world.visits.directory, folder)
    {"capsule part": swap_parts, "capsule manifest": swap_manifest}[row.key](world, folder)
    document = world.sign(world.contract())
    config = world.config(document)
    config["capsules"] = {**config["capsules"], world.visits.manifest_digest: str(folder)}
    holds(row, scene.run(row, document=document, config=config))


def test_a_card_of_another(scene: Scene) -> None:
    row, world = BY_KEY["capsule card"], scene.world
    document = world.sign(world.contract())
    config = world.config(document)
    holds(row, scene.run(row, document=document, config={**config, "cards": [config["cards"][1]] * 2}))


def unsigned(world: World) -> Envelope:
    document = world.sign(world.contract(), register=False)
    return msgspec.structs.replace(document, signatures=document.signatures[1:])


def forged(world: World) -> Envelope:
    document = world.sign(world.contract(), register=False)
    first = document.signatures[0]
    wrong = b64(flipped(unb64(first.sig), 10))
    return msgspec.structs.replace(
        document, signatures=(msgspec.structs.replace(first, sig=wrong), *document.signatures[1:])
    )


def self_granted(world: World) -> Envelope:
    """Whoever signs, and as often as he likes: the signatures of all parties are asked for, not a number of them."""
    contract = world.contract()
    alone = seal("application/vnd.cloister.contract.v1+json", canonical.encode(contract), world.analyst)
    genuine = world.sign(contract, register=False)
    assert alone.payload == genuine.payload
    assert alone.payloadType == genuine.payloadType
    others = [msgspec.structs.replace(alone.signatures[0], keyid=party.did) for party in contract.parties]
    return msgspec.structs.replace(alone, signatures=(alone.signatures[0], *others))


SIGNED = {"unsigned": unsigned, "forged": forged, "self-granted": self_granted}


@rows("contract unsigned", "contract forged", "contract self-granted")
def test_contracts_for_an_enclave(scene: Scene, row: Row) -> None:
    document = SIGNED[row.key.partition(" ")[2]](scene.world)
    holds(row, scene.run(row, document=document))


@rows("registered ")
def test_contracts_for_a_broker(scene: Scene, row: Row) -> None:
    home, document = scene.world.anna_home, SIGNED[row.key.partition(" ")[2]](scene.world)
    with pytest.raises(CloisterError) as refused:
        home.contracts.add(document, now=LATER)
    assert home.contracts.get(signing.payload_digest(document)) is None
    assert refused.value.reason
    assert row.where == COMMAND
    holds(row, Outcome(refused.value.code, [refused.value.code]))


def expired(world: World, not_after: str = "2021-01-01T00:00:00Z") -> Envelope:
    document = world.sign(world.contract(not_after=not_after), register=False)
    for home in (world.anna_home, world.bank_home):
        home.contracts.add(document, now=LATER)
    return document


def test_an_expired_contract(scene: Scene) -> None:
    row = BY_KEY["contract expired"]
    holds(row, scene.run(row, document=expired(scene.world)))


def test_a_contract_that_no_broker_has(scene: Scene) -> None:
    row = BY_KEY["contract unknown"]
    holds(row, scene.run(row, document=scene.world.sign(scene.world.contract(), register=False)))


def test_a_revoked_contract(scene: Scene) -> None:
    row, world = BY_KEY["contract revoked"], scene.world
    document = world.sign(world.contract())
    decision = Decision("revoked", clock.text(datetime.now(UTC)), "no longer")

    def revoke(_vault: Any) -> None:
        world.anna_home.contracts.decide(signing.payload_digest(document), decision)

    holds(row, scene.run(row, document=document, before=revoke))


def test_questions_that_the_contract_does_not_allow(scene: Scene) -> None:
    holds(BY_KEY["purpose"], scene.run(BY_KEY["purpose"], purpose="marketing"))
    genome = plan(a.Sum("g", a.Col("genome")))
    holds(BY_KEY["tier"], scene.run(BY_KEY["tier"], question=genome))


def aside(world: World, at: datetime) -> tuple[Any, Any, Envelope, BrokerCore]:
    """A vault beside a broker whose clock shows another time than this machine's."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    document = expired(world, clock.text(ends))
    state, transport = world.state(document)
    did = world.anna_home.identity().did
    broker = transport._brokers[did] = BrokerCore(world.anna_home, time=clock.Clock(lambda: at))
    return state, transport, document, broker


def outcome(world: World, state: Any, document: Envelope, broker: BrokerCore) -> Outcome:
    digest, found = signing.payload_digest(document), Outcome("", [])
    before = [entry for entry in world.anna_broker.entries(world.card.population) if entry["contract"] == digest]
    try:
        release(state, context(world), numbered(2))
        found.released = 1
    except CloisterError as error:
        found.code, found.reason = error.code, error.reason
    events: list[Event] = []
    broker.journal.flush()
    lines = checkpoints.write_export(world.anna_home, broker.accounts, now=broker.now(), actor="owner")
    assert audit.Audit(event=events.append).check(list(lines)).sound
    found.entries = list(texts_of(events, digest, Counter()))
    after = [entry for entry in world.anna_broker.entries(world.card.population) if entry["contract"] == digest]
    found.charged = len(after) - len(before)
    return found


def test_a_clock_that_lies_about_the_end_of_a_contract(tmp_path: Path) -> None:
    """To the enclave's machine the contract has an hour to go; by the broker's time it is over."""
    world = World(tmp_path, serve=False)
    state, _, document, broker = aside(world, datetime.now(UTC) + timedelta(hours=2))
    holds(BY_KEY["clock of the host"], outcome(world, state, document, broker))


# Messages between vault and broker -------------------------------------------------------------------


def network(scene: Scene) -> Network:
    return scene.world.new_network()


def test_every_request_twice(scene: Scene) -> None:
    row, through = BY_KEY["duplicate requests"], network(scene)

    def twice(path: str, body: bytes) -> bytes:
        if path != "/v1/hello":
            through._client.post(scene.world.anna_broker.url + path, content=body)
        return body

    through.before = lambda path, body: twice(path, body) if path in {"/v1/append", "/v1/settle"} else body
    found = scene.run(row, network=through)
    holds(row, found)
    assert found.entries.count("charge") == 1


def test_a_session_asked_for_twice(scene: Scene) -> None:
    row, through, world = BY_KEY["replayed session"], network(scene), scene.world
    document = world.sign(world.contract())
    again: list[LedgerReply] = []

    def replay(_vault: Any) -> None:
        (request,) = [sent for path, sent, _ in through.seen if path == "/v1/session"]
        body = through._client.post(world.anna_broker.url + "/v1/session", content=request).content
        again.append(reply_of(body))

    honest = scene.run(row, document=document, network=through, before=replay)
    (reply,) = again
    assert not reply.keys
    holds(row, Outcome(reply.status, honest.entries, reason=reply.reason))


def reply_of(body: bytes) -> LedgerReply:
    return msgspec.json.decode(unverified_payload(msgspec.json.decode(body, type=Envelope)), type=LedgerReply)


def losing(path: str) -> Callable[[str, bytes], bytes | None]:
    return lambda at, body: None if at == path else body


def test_lost_messages(scene: Scene) -> None:
    for key_, way in (("lost request", "before"), ("lost reply", "after")):
        through = network(scene)
        setattr(through, way, losing("/v1/append"))
        holds(BY_KEY[key_], scene.run(BY_KEY[key_], network=through))


def test_an_earlier_answer(scene: Scene) -> None:
    row, through = BY_KEY["reordered"], network(scene)
    kept: list[bytes] = []

    def first(path: str, body: bytes) -> bytes:
        if path == "/v1/append":
            kept.append(body)
            return kept[0]
        return body

    through.after = first
    holds(row, scene.run(row, network=through, before=lambda _vault: None))


def test_a_broker_killed_in_mid_append(scene: Scene) -> None:
    row, through = BY_KEY["restart in mid-append"], network(scene)

    def die(path: str, body: bytes) -> bytes | None:
        if path != "/v1/append":
            return body
        scene.world.anna_broker.kill()
        return None

    through.after = die
    holds(row, scene.run(row, network=through))


def test_a_clone(scene: Scene) -> None:
    row, world = BY_KEY["clone"], scene.world
    document = world.sign(world.contract())
    clones: list[Any] = []

    def clone(_vault: Any) -> None:
        clones.append(world.vault(world.config(document), forker=scene.forker))
        clones[0].ask("release", numbered(3))

    try:
        holds(row, scene.run(row, document=document, before=clone))
    finally:
        for one in clones:
            one.close()


class Forging(Network):
    """A host that answers in a broker's name itself."""

    def __init__(self, urls: dict[str, str], path: str) -> None:
        super().__init__(urls)
        self._path, self._key = path, SigningKey.generate()

    def post(self, did: str, path: str, body: bytes) -> tuple[int, bytes]:
        if path != self._path:
            return super().post(did, path, body)
        if path == "/v1/hello":
            asked = json.loads(body)
            return 200, handshake.new_hello(self._key.did, asked["contract"], handshake.BROKER_SESSION)
        reply = json.loads(unverified_payload(msgspec.json.decode(body, type=Envelope)))
        made = {**json.loads(canonical.encode(self.latest)), "op": "append", "request": reply["request"]}
        made |= {"nonce": reply["nonce"], "population": reply["entry"]["population"], "status": "ok"}
        return 200, canonical.encode(seal(REPLY_TYPE, canonical.encode(made), self._key))

    @property
    def latest(self) -> LedgerReply:
        """The latest genuine reply."""
        return reply_of(next(body for path, _, body in reversed(self.seen) if path != "/v1/hello"))


def test_a_forged_broker(scene: Scene) -> None:
    for key_, path in (("forged broker", "/v1/append"), ("forged hello", "/v1/hello")):
        holds(BY_KEY[key_], scene.run(BY_KEY[key_], network=Forging(scene.world.network.urls, path)))


def test_an_account_file_put_back(tmp_path: Path) -> None:
    """Nothing is signed, so nothing is written, until it is recovered; that is an entry, and the log is whole."""
    row, world = BY_KEY["old account file"], World(tmp_path, serve=False)
    document = world.sign(world.contract())
    state, transport = world.state(document)
    did = world.anna_home.identity().did
    release(state, context(world), numbered(1))
    old, proof = tmp_path / "old", tmp_path / "proof"
    with sqlite3.connect(world.anna_home.accounts_file) as live, sqlite3.connect(old) as copy:
        live.backup(copy)
    release(state, context(world), numbered(3))
    broker = transport._brokers[did]
    lines = checkpoints.write_export(world.anna_home, broker.accounts, now=broker.now(), actor="owner")
    proof.write_bytes(b"".join(lines))
    broker.close()
    for path in world.anna_home.directory.glob("accounts.sqlite*"):
        path.unlink()
    shutil.copy(old, world.anna_home.accounts_file)
    transport._brokers[did] = BrokerCore(world.anna_home)
    with pytest.raises(CloisterError) as refused:
        release(state, context(world), numbered(2))
    assert transport._brokers[did].restored is not None
    assert len(world.anna_broker.entries(world.card.population)) == 1, "nothing is booked on the old accounts"
    transport._brokers[did].close()
    recovery.recover(world.anna_home, exports=[proof], checkpoints=[], burn=False, now=clock.text(datetime.now(UTC)))
    again = BrokerCore(world.anna_home)
    events: list[Event] = []
    lines = checkpoints.write_export(world.anna_home, again.accounts, now=again.now(), actor="owner")
    assert audit.Audit(event=events.append).check(list(lines)).sound
    entries = list(texts_of(events, signing.payload_digest(document), Counter()))
    holds(row, Outcome(refused.value.code, entries, len(world.anna_broker.entries(world.card.population)) - 2))
    again.close()


def test_a_contract_that_ended_while_the_vault_lived(tmp_path: Path) -> None:
    """By the broker's time, as the vault carries it on; the broker is told, though its contract is over."""
    row, world = BY_KEY["clock of the vault"], World(tmp_path, serve=False)
    state, _transport, document, broker = aside(world, datetime.now(UTC))
    release(state, context(world), numbered(1))
    state.brokers._ledgers["anna-broker"]._heard_s -= 3500 + 120  # its machine slept: two hours and a minute passed
    state.brokers._ledgers["anna-broker"]._lease = None
    from refusal_world import ask

    digest = signing.payload_digest(document)
    with pytest.raises(CloisterError) as refused:
        ask(state, context(world), numbered(2))
    state.refusals.flush()
    broker.journal.flush()
    events: list[Event] = []
    lines = checkpoints.write_export(world.anna_home, broker.accounts, now=broker.now(), actor="owner")
    assert audit.Audit(event=events.append).check(list(lines)).sound
    charged = sum(event.kind == "charge" and event.contract == digest for event in events) - 1
    holds(row, Outcome(refused.value.code, list(texts_of(events, digest, Counter())), charged))


# The catalogue ---------------------------------------------------------------------------------------


def test_every_row_is_run() -> None:
    """By a test of its own name, or by the parametrised one of its kind."""
    source = Path(__file__).read_text()
    grouped = ("broker ", "tdx ", "analyst ", "registered ")
    for row in ROWS:
        assert row.key.startswith(grouped) or f'"{row.key}"' in source, row.key
    assert len(BY_KEY) == len(ROWS)
    assert {row.where for row in ROWS} == {EVENT, VAULT, PROXY, COMMAND}


def test_the_page_is_current() -> None:
    text = PAGE.read_text()
    assert text == page(text), "run python tests/attacks/bad_input_catalogue.py"
