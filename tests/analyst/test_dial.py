"""Dialling: every way an enclave can fail to be what it must be, against a scripted enclave on a real WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dial_world import ENV, FULL, DialWorld
from websockets.asyncio.server import ServerConnection, serve

from cloister.analyst.connect import Proposal, connect
from cloister.analyst.dial import EnclaveSession
from cloister.analyst.trust import TrustEntry
from cloister.attest import verifiers
from cloister.attest.channel import Counts
from cloister.attest.encoding import b64
from cloister.attest.endorsements import Endorsements, add, read_entry
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.hello import MAX_OFFER, Offer
from cloister.attest.releases import SoftwareRelease, sign_release
from cloister.attest.renewal import renew_offer
from cloister.contract import signing
from cloister.contract.clauses import Software
from cloister.contract.terms import Party
from cloister.errors import CloisterError, TrustError, UnavailableError
from cloister.wire import canonical
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey


@pytest.fixture
def dial_world(tmp_path: Path) -> DialWorld:
    return DialWorld(tmp_path)


def play(enclave: Callable[[ServerConnection], Awaitable[None]], story: Callable[[str], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serve(enclave, "127.0.0.1", 0, compression=None) as server:
            host, port = server.sockets[0].getsockname()[:2]
            await story(f"ws://{host}:{port}")

    asyncio.run(run())


def refuse(
    world: DialWorld,
    code: str,
    *,
    enclave: Callable[[ServerConnection], Awaitable[None]] | None = None,
    **changes: Any,
) -> CloisterError:
    """Dial and expect a refusal; the enclave must never have seen more than the hello, and no cell."""
    caught: list[CloisterError] = []

    async def story(url: str) -> None:
        with pytest.raises(CloisterError) as excinfo:
            await EnclaveSession.open(world.entry(url, **changes), mode="confidential", store=world.store)
        caught.append(excinfo.value)

    play(enclave or world.honest, story)
    assert caught[0].code == code
    assert caught[0].reason
    assert not world.cells
    return caught[0]


def test_an_honest_enclave_opens_a_session(dial_world: DialWorld) -> None:
    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="confidential", store=dial_world.store)
        verdict = session.verdict
        assert (verdict.word, verdict.tone, verdict.assurance) == ("Simulated", "amber", "simulated")
        assert (verdict.status, verdict.env_digest, verdict.vault_id) == ("contraindicated", ENV, "did:key:vault")
        assert verdict.reasons[0].startswith("hardware 97")
        await session.send(Kind.SHELL, b"cell")
        assert (await session.receive()).parts == (b"cell",)
        assert msgspec.json.decode(dial_world.first[0])["audience"] == dial_world.analyst.did
        assert session.exchange.vault_id() == "did:key:vault"
        await session.close()

    play(dial_world.honest, story)
    assert dial_world.cells == [b"cell"]


def test_an_unisolated_sandbox_is_red(dial_world: DialWorld) -> None:
    async def enclave(socket: ServerConnection) -> None:
        end, offer = await dial_world.offer(socket)
        await socket.send(offer)
        await dial_world.serve(socket, end, {"level": "none"})

    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="mock", store=dial_world.store)
        assert session.verdict.tone == "red"
        assert "isolation" in session.verdict.reasons[0]
        await session.close()

    play(enclave, story)


@pytest.mark.parametrize(
    ("report", "policy", "code"),
    [
        ({"env_digest": "sha384:" + "0" * 96}, {}, "appraisal.env_digest"),
        ({"debug": True}, {}, "appraisal.debug"),
        ({"contract": "sha256:" + "0" * 64}, {}, "evidence.claims"),
        ({}, {"instances": ("did:key:zSomeoneElse",)}, "appraisal.instance"),
        ({}, {"simulated": False}, "appraisal.simulated"),
        ({}, {"tees": ("tdx",)}, "appraisal.tee"),
        ({"runtime": {"isolation": {"level": "none"}}}, {"isolation": "full"}, "appraisal.isolation"),
    ],
)
def test_what_the_policy_refuses(
    dial_world: DialWorld, report: dict[str, Any], policy: dict[str, Any], code: str
) -> None:
    dial_world.report = report
    refuse(dial_world, code, policy=dial_world.policy(**policy))
    assert len(dial_world.first) == 1  # the hello, and not even an opening


def test_what_the_contract_asks_of_the_enclave_counts_beside_the_policy(dial_world: DialWorld) -> None:
    """Hosts and software releases are every party's word: an analyst's policy that says less does not undo them."""
    signer = SigningKey.generate()
    elsewhere = dial_world.sign(dial_world.terms(hosts=("chip:other",)))
    refuse(dial_world, "appraisal.instance", contract=elsewhere)
    released = dial_world.sign(dial_world.terms(software=Software((signer.did,), "1.0")))
    refuse(dial_world, "release.unknown", contract=released)
    document = sign_release(SoftwareRelease("0.9", signer.did, ENV, "2026-01-01T00:00:00Z"), signer)
    dial_world.store.add_release(document)
    refuse(dial_world, "release.minimum", contract=released)


def test_an_analyst_verifies_with_the_endorsements_kept(dial_world: DialWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, bytes]] = []

    def verify(evidence: Evidence, data: bytes, given: Any, now: datetime) -> Claims:
        seen.append(dict(given))
        raise RejectedError("evidence.signature", "no matter")

    honest = dial_world.attest

    def attest(contract: str) -> Callable[[bytes], Evidence]:
        return lambda data: msgspec.structs.replace(honest(contract)(data), tee="gcp-oidc")

    monkeypatch.setattr(verifiers, "installed", lambda: {"gcp-oidc": verify})
    monkeypatch.setattr(dial_world, "attest", attest)
    bundle = add(Endorsements(), read_entry("jwks", b"keys", datetime.now(UTC)))
    dial_world.store.endorsements_file.write_bytes(canonical.encode(bundle))
    refuse(dial_world, "evidence.signature")
    assert seen == [{"jwks": b"keys"}]


def test_simulated_needs_contract_policy_and_person(dial_world: DialWorld) -> None:
    strict = dial_world.sign(dial_world.terms(accept_simulated=False))
    for changes in ({"accept_simulated": False}, {"contract": strict}):
        refuse(dial_world, "appraisal.simulated", **changes)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kex_pub": b64(b"\x09" + bytes(31))}, "evidence.binding"),
        ({"vault_id": "did:key:zAnother"}, "evidence.binding"),
        ({"suite": "plain"}, "channel.suite"),
        ({"version": "0"}, "channel.version"),
        ({"contract": "sha256:" + "0" * 64}, "offer.contract"),
    ],
)
def test_changed_offers(dial_world: DialWorld, change: dict[str, str], code: str) -> None:
    async def enclave(socket: ServerConnection) -> None:
        _, offer = await dial_world.offer(socket)
        changed = msgspec.structs.replace(msgspec.json.decode(offer, type=Offer), **change)
        await socket.send(canonical.encode(changed))
        await socket.wait_closed()

    refuse(dial_world, code, enclave=enclave)
    assert len(dial_world.first) == 1


def test_replayed_offer(dial_world: DialWorld) -> None:
    kept: list[bytes] = []

    async def enclave(socket: ServerConnection) -> None:
        _, offer = await dial_world.offer(socket)
        kept.append(offer)
        await socket.send(kept[0])
        await socket.wait_closed()

    async def story(url: str) -> None:
        codes = []
        for _ in range(2):
            with pytest.raises(CloisterError) as excinfo:
                await asyncio.wait_for(
                    EnclaveSession.open(dial_world.entry(url), mode="mock", store=dial_world.store), 2
                ) if kept else await EnclaveSession.open(
                    dial_world.entry(url, accept_simulated=False), mode="mock", store=dial_world.store
                )
            codes.append(excinfo.value.code)
        assert codes == ["appraisal.simulated", "evidence.binding"]

    play(enclave, story)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "offer.malformed"),
        (b"{}", "offer.malformed"),
        (b"\xff" * 100, "offer.malformed"),
        (b"x" * 300_000, "offer.malformed"),
        ("text", "channel.text"),
        (json.dumps({"error": {"code": "contract.unknown", "reason": "no"}}).encode(), "enclave.refused"),
    ],
)
def test_answers_that_are_no_offer(dial_world: DialWorld, answer: bytes | str, code: str) -> None:
    async def enclave(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(answer)
        await socket.wait_closed()

    refuse(dial_world, code, enclave=enclave)


def test_a_forged_refusal_is_not_quoted_as_the_enclaves(dial_world: DialWorld) -> None:
    async def enclave(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"error": {"code": "budget.exhausted", "reason": "give up"}}).encode())

    error = refuse(dial_world, "enclave.refused", enclave=enclave)
    assert isinstance(error, TrustError)
    assert "before any verdict" in error.reason


def test_a_flood_instead_of_an_offer_is_cut_off(dial_world: DialWorld) -> None:
    """Before the verdict nobody can make this machine keep more than a little."""
    left: list[int] = []

    async def enclave(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(bytes(4 * MAX_OFFER))
        await socket.wait_closed()
        left.append(socket.close_code or 0)

    refuse(dial_world, "channel.lost", enclave=enclave)
    assert left == [1009]  # message too big


def test_answers_that_the_other_side_does_not_read_are_not_kept(dial_world: DialWorld) -> None:
    """Pings are answered by themselves; before the verdict nobody fills this machine's memory with the answers."""
    sent: list[int] = []

    async def enclave(socket: ServerConnection) -> None:
        await socket.recv()
        socket.transport.pause_reading()
        for number in range(400):
            if not socket.transport.is_closing():
                socket.transport.write((b"\x89\x7d" + bytes(125)) * 1000)
                sent.append(number)
                await asyncio.sleep(0.005)

    refuse(dial_world, "channel.lost", enclave=enclave)
    assert len(sent) < 400


def test_silence_and_hanging_up(dial_world: DialWorld) -> None:
    async def hangs_up(socket: ServerConnection) -> None:
        await socket.recv()

    refuse(dial_world, "channel.lost", enclave=hangs_up)


def test_hanging_up_instead_of_accepting(dial_world: DialWorld) -> None:
    async def enclave(socket: ServerConnection) -> None:
        _, offer = await dial_world.offer(socket)
        await socket.send(offer)
        await socket.recv()

    refuse(dial_world, "channel.lost", enclave=enclave)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (
            {"type": "refused", "error": {"kind": "contract", "code": "contract.purpose", "reason": "no"}},
            "contract.purpose",
        ),
        ({"type": "kernel", "state": "started"}, "channel.unexpected"),
        ({"type": "accepted"}, "channel.unexpected"),
    ],
)
def test_first_event_of_the_enclave(dial_world: DialWorld, event: dict[str, Any], code: str) -> None:
    async def enclave(socket: ServerConnection) -> None:
        end, offer = await dial_world.offer(socket)
        await socket.send(offer)
        end.admit(await socket.recv(), [dial_world.analyst.did])
        await socket.send(end.seal(Kind.EVENT, canonical.encode(event)))
        await socket.wait_closed()

    refuse(dial_world, code, enclave=enclave)


def test_unsealed_acceptance_is_not_acceptance(dial_world: DialWorld) -> None:
    async def enclave(socket: ServerConnection) -> None:
        _, offer = await dial_world.offer(socket)
        await socket.send(offer)
        await socket.recv()
        await socket.send(canonical.encode({"type": "accepted", "isolation": {}}))
        await socket.wait_closed()

    refuse(dial_world, "channel.frame", enclave=enclave)


def test_nobody_there(dial_world: DialWorld) -> None:
    async def story() -> None:
        for url in ("ws://127.0.0.1:9", "ws://", "http://127.0.0.1:9", "nonsense"):
            with pytest.raises(UnavailableError) as excinfo:
                await EnclaveSession.open(dial_world.entry(url), mode="mock", store=dial_world.store)
            assert excinfo.value.code == "enclave.unreachable"

    asyncio.run(story())


def test_contract_trouble_is_found_before_anything_is_sent(dial_world: DialWorld) -> None:
    unsigned = signing.sign_contract(dial_world.terms(), dial_world.analyst)
    expired = dial_world.sign(dial_world.terms(not_after="2026-02-01T00:00:00Z"))
    someone = SigningKey.generate()
    foreign = dial_world.terms(
        parties=(Party("fair", dial_world.provider.did, "provider"), Party("ada", someone.did, "analyst"))
    )
    cases = {
        "contract.unsigned": {"contract": unsigned},
        "contract.expired": {"contract": expired},
        "analyst.unknown": {"contract": signing.sign_contract(foreign, dial_world.provider, someone)},
        "trust.policy": {"contract": dial_world.sign(dial_world.terms(policies={"ada": "sha256:" + "0" * 64}))},
    }
    for code, changes in cases.items():
        refuse(dial_world, code, **changes)
    assert dial_world.first == []


def test_unknown_purpose(dial_world: DialWorld) -> None:
    async def story(url: str) -> None:
        with pytest.raises(CloisterError) as excinfo:
            await EnclaveSession.open(dial_world.entry(url), mode="mock", purpose="spying", store=dial_world.store)
        assert excinfo.value.code == "contract.purpose"

    play(dial_world.honest, story)
    assert dial_world.first == []


@pytest.mark.parametrize("trick", ["drop", "flip", "replay", "cut", "goodbye"])
def test_tampering_after_the_verdict(dial_world: DialWorld, trick: str) -> None:
    async def enclave(socket: ServerConnection) -> None:
        end, offer = await dial_world.offer(socket)
        await socket.send(offer)
        end.admit(await socket.recv(), [dial_world.analyst.did])
        await socket.send(end.seal(Kind.EVENT, canonical.encode({"type": "accepted", "isolation": FULL})))
        sealed = [end.seal(Kind.IOPUB, bytes([n])) for n in range(2)]
        if trick == "drop":
            await socket.send(sealed[1])
        elif trick == "flip":
            await socket.send(sealed[0][:-1] + bytes([sealed[0][-1] ^ 1]))
        elif trick == "replay":
            await socket.send(sealed[0])
            await socket.send(sealed[0])
        elif trick == "goodbye":
            for data in (*sealed, end.close()):
                await socket.send(data)
        if trick != "cut":
            await socket.wait_closed()

    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="mock", store=dial_world.store)
        with pytest.raises(CloisterError) as excinfo:
            while True:
                await session.receive()
        codes = {"cut": "channel.lost", "goodbye": "channel.ended"}
        assert excinfo.value.code == codes.get(trick, "channel.frame")
        with pytest.raises(CloisterError):
            await session.send(Kind.SHELL, b"one more cell")
            await session.receive()
        await session.close()

    play(enclave, story)


# --- resuming


@pytest.mark.parametrize(
    ("told", "seen", "reason"),
    [
        ({"sent": 7, "received": 3}, Counts(sent=3, received=7), ""),
        ({"sent": 8, "received": 3}, Counts(sent=3, received=7), "lost messages"),
        ({"sent": 7, "received": 2}, Counts(sent=3, received=7), "lost messages"),
        (None, Counts(sent=3, received=7), "has ended"),
        ({"sent": "7"}, Counts(sent=3, received=7), "has ended"),
        (None, None, ""),
    ],
)
def test_a_session_resumes_without_a_gap_or_not_at_all(
    dial_world: DialWorld, told: object, seen: Counts | None, reason: str
) -> None:
    said_goodbye: list[bool] = []

    async def enclave(socket: ServerConnection) -> None:
        end, offer = await dial_world.offer(socket)
        await socket.send(offer)
        end.admit(await socket.recv(), [dial_world.analyst.did])
        accepted = {"type": "accepted", "isolation": FULL, "resumed": told}
        await socket.send(end.seal(Kind.EVENT, canonical.encode(accepted)))
        said_goodbye.append(end.open(await socket.recv()) is None)

    async def story(url: str) -> None:
        opening = EnclaveSession.open(
            dial_world.entry(url), mode="mock", session="s", seen=seen, store=dial_world.store
        )
        if reason:
            with pytest.raises(TrustError) as excinfo:
                await opening
            assert excinfo.value.code == "session.gap"
            assert reason in excinfo.value.reason
        else:
            session = await opening
            assert session.counts == Counts(sent=1, received=1)
            await session.close()

    play(enclave, story)
    assert said_goodbye == [True]  # a session that is not resumed does not wait for anybody


# --- fresh evidence within a session


async def renewing_enclave(world: DialWorld, socket: ServerConnection, trick: str) -> None:
    """Announce another vault, show a frame of it, and answer the hello that follows, honestly or not."""
    end, offer = await world.offer(socket)
    await socket.send(offer)
    end.admit(await world.message(socket), [world.analyst.did])

    async def say(kind: int, *parts: bytes) -> None:
        await socket.send(end.seal(kind, *parts))

    await say(Kind.EVENT, canonical.encode({"type": "accepted", "isolation": FULL}))
    await say(Kind.EVENT, canonical.encode({"type": "vault", "state": "ready", "vault_id": "did:key:zNext"}))
    if trick == "other":
        await say(Kind.EVENT, canonical.encode({"type": "vault", "state": "ready", "vault_id": "did:key:zAfterNext"}))
    await say(Kind.IOPUB, b"of the next vault")
    frame = end.open(await socket.recv())
    assert frame is not None
    assert frame.kind == Kind.EVENT
    if trick == "changed":
        world.report = {"env_digest": "sha384:" + "0" * 96}
    if trick == "replayed":
        await say(Kind.EVENT, canonical.encode({"type": "offer"}), offer)
    elif trick == "chatty":
        for _ in range(200):
            await say(Kind.IOPUB, b"still no evidence")
            await asyncio.sleep(0.05)
    elif trick != "silent":
        renewed, _ = renew_offer(
            frame.parts[1],
            end.hello,
            world.attest(end.hello.contract),
            previous=b"" if trick == "unchained" else end.binding,
            vault_id="did:key:zAfterNext" if trick == "other" else "did:key:zNext",
            env_digest=world.report.get("env_digest", ENV),
        )
        await say(Kind.EVENT, canonical.encode({"type": "offer"}), canonical.encode(renewed))
    await socket.wait_closed()


def test_another_vault_is_believed_after_fresh_evidence(dial_world: DialWorld) -> None:
    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="confidential", store=dial_world.store)
        before = session.verdict
        event = json.loads((await session.receive()).parts[0])
        assert event["vault_id"] == session.verdict.vault_id == "did:key:zNext" != before.vault_id
        assert event["exchange"] == msgspec.to_builtins(session.exchange)
        assert session.exchange.vault_id() == "did:key:zNext"
        assert session.verdict.binding != before.binding
        assert (await session.receive()).parts == (b"of the next vault",)
        await session.close()

    play(lambda socket: renewing_enclave(dial_world, socket, "honest"), story)


@pytest.mark.parametrize(
    ("trick", "code"),
    [("replayed", "offer.previous"), ("unchained", "offer.previous"), ("changed", "appraisal.env_digest")],
)
def test_another_vault_without_fresh_evidence_ends_the_session(dial_world: DialWorld, trick: str, code: str) -> None:
    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="confidential", store=dial_world.store)
        with pytest.raises(CloisterError) as excinfo:
            await session.receive()
        assert excinfo.value.code == code
        with pytest.raises(TrustError):
            await session.send(Kind.SHELL, b"cell")

    play(lambda socket: renewing_enclave(dial_world, socket, trick), story)


def test_a_vault_that_died_before_it_was_proven_is_not_announced(dial_world: DialWorld) -> None:
    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="confidential", store=dial_world.store)
        event = json.loads((await session.receive()).parts[0])
        assert event["vault_id"] == session.verdict.vault_id == "did:key:zAfterNext"
        assert event["exchange"] == msgspec.to_builtins(session.exchange)
        assert (await session.receive()).parts == (b"of the next vault",)
        await session.close()

    play(lambda socket: renewing_enclave(dial_world, socket, "other"), story)


@pytest.mark.parametrize("trick", ["silent", "chatty"])
def test_nothing_of_another_vault_is_passed_on_unproven(
    dial_world: DialWorld, monkeypatch: pytest.MonkeyPatch, trick: str
) -> None:
    """Evidence has one deadline; whatever else is said meanwhile does not move it."""
    monkeypatch.setattr("cloister.analyst.dial.OFFER_TIMEOUT_S", 0.5)

    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="confidential", store=dial_world.store)
        with pytest.raises(UnavailableError) as excinfo:
            await session.receive()
        assert excinfo.value.code == "channel.lost"
        assert session._renewing.active

    play(lambda socket: renewing_enclave(dial_world, socket, trick), story)


def test_mock_vaults_are_not_attested(dial_world: DialWorld) -> None:
    async def story(url: str) -> None:
        session = await EnclaveSession.open(dial_world.entry(url), mode="mock", store=dial_world.store)
        assert json.loads((await session.receive()).parts[0])["vault_id"] == "did:key:zNext"
        assert session.verdict.vault_id == "did:key:vault"

    play(lambda socket: renewing_enclave(dial_world, socket, "silent"), story)


# --- connect


def contract_file(world: DialWorld, **changes: Any) -> Path:
    path = world.folder / "contract.json"
    path.write_bytes(msgspec.json.encode(world.sign(world.terms(**changes))))
    return path


def connecting(world: DialWorld, path: Path, **options: Any) -> tuple[TrustEntry | None, str, list[Proposal]]:
    shown: list[Proposal] = []
    result: list[Any] = [None, ""]
    agrees = options.pop("agrees", True)

    def confirm(proposal: Proposal) -> bool:
        shown.append(proposal)
        return agrees

    async def story(url: str) -> None:
        try:
            result[0] = await connect(
                path, url, confirm=confirm, store=world.store, prefix=world.folder / "prefix", **options
            )
        except CloisterError as error:
            result[1] = error.code

    play(world.honest, story)
    return result[0], result[1], shown


def test_connect_shows_stores_and_installs(dial_world: DialWorld) -> None:
    entry, _, shown = connecting(dial_world, contract_file(dial_world), accept_simulated=True)
    assert entry is not None
    words = shown[0].words()
    for part in (
        "A fair",
        "fair.people",
        "teaching",
        "epsilon 8",
        ENV[:20],
        dial_world.install.did,
        "simulator",
        "pinned",
    ):
        assert part in words
    assert dial_world.store.load("fair") == entry
    assert (dial_world.folder / "prefix/share/jupyter/kernels/cloister-fair-mock/kernel.json").exists()

    async def story(url: str) -> None:  # the pinned policy opens this enclave, and no other
        here = msgspec.structs.replace(entry, endpoint=url)
        session = await EnclaveSession.open(here, mode="mock", store=dial_world.store)
        await session.close()
        dial_world.install = SigningKey.generate()
        with pytest.raises(TrustError) as excinfo:
            await EnclaveSession.open(here, mode="mock", store=dial_world.store)
        assert excinfo.value.code == "appraisal.instance"

    play(dial_world.honest, story)


def test_connect_stores_nothing_without_a_yes(dial_world: DialWorld) -> None:
    _, code, shown = connecting(dial_world, contract_file(dial_world), accept_simulated=True, agrees=False)
    assert code == "connect.declined"
    assert len(shown) == 1
    assert dial_world.store.names() == ()
    assert not (dial_world.folder / "prefix").exists()


@pytest.mark.parametrize(
    ("terms", "options", "code"),
    [
        ({}, {}, "appraisal.simulated"),
        ({"accept_simulated": False}, {"accept_simulated": True}, "appraisal.simulated"),
        ({"not_after": "2026-02-01T00:00:00Z"}, {"accept_simulated": True}, "contract.expired"),
        ({}, {"accept_simulated": True, "policy": "other"}, "appraisal.env_digest"),
    ],
)
def test_connect_refuses_before_it_asks(
    dial_world: DialWorld, terms: dict[str, Any], options: dict[str, Any], code: str
) -> None:
    if options.get("policy"):
        options["policy"] = dial_world.policy(env_digests=("sha384:" + "0" * 96,))
    _, found, shown = connecting(dial_world, contract_file(dial_world, **terms), **options)
    assert found == code
    assert shown == []
    assert dial_world.store.names() == ()
