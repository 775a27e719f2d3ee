"""The link: bounded, strictly decoded, and never a traceback out."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
from vault_agent import Dead
from vault_world import World, context, numbered, plan

from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.vault import service
from cloister.vault.pipes import Pipe
from cloister.vault.service import Answered, Service
from cloister.wire import canonical, frames
from cloister.wire.frames import Kind


def test_hostile_frames_get_a_code_and_the_vault_lives_on(world: World) -> None:
    good = canonical.encode({"id": 1, "op": "describe"})
    with world.vault() as vault:
        context_bytes = canonical.encode(vault.context())
        cases = [
            ((context_bytes,), "link.frame"),
            ((context_bytes, good, good), "link.frame"),
            ((context_bytes, b"\x00\xff"), "link.request"),
            ((context_bytes, b"[" * 50_000), "link.request"),
            ((context_bytes, canonical.encode({"id": 7, "op": "export"})), "link.request"),
            ((context_bytes, canonical.encode({"id": 7, "op": "release", "sql": "1"})), "link.request"),
            ((b"{}", good), "link.request"),
            ((canonical.encode({**vault.context(), "admin": True}), good), "link.request"),
            ((context_bytes, canonical.encode({"id": 7, "op": "price", "plan": {"x": "y" * (1 << 20)}})), "link.size"),
        ]  # fmt: skip
        for parts, code in cases:
            for number in (0, 1, 7):
                vault.expect(number)
            vault.send_raw(*parts)
            expected = next((n for n in (7, 1) if len(parts) == 2 and b'"id":%d' % n in parts[1]), 0)
            if len(parts) == 3:
                expected = 1
            with pytest.raises(MalformedError) as refused:
                vault.wait(expected, 10)
            assert refused.value.code == code
        for number in (2**53 + 1, 2**64, -(2**60)):
            vault.expect(0)
            vault.send_raw(context_bytes, b'{"id":%d,"op":"describe"}' % number)
            with pytest.raises(MalformedError) as refused:
                vault.wait(0, 10)
            assert refused.value.code == "link.request", "an id that no reply can repeat"
        vault.expect(0)
        vault.send_raw(good, kind=Kind.SHELL)
        with pytest.raises(MalformedError):
            vault.wait(0, 10)
        for op in ("price", "release"):
            with pytest.raises(CloisterError) as refused:
                vault.ask(op)
            assert refused.value.code == "plan.missing"
        assert vault.ask("describe")["mode"] == "confidential"


def test_bytes_that_are_no_frames_end_the_vault(world: World) -> None:
    with world.vault() as vault:
        vault._link.sendall(b"\xff" * 64)
        vault.process.wait(10)
        assert any("broken" in line for line in vault.log)


def test_the_vault_ends_with_its_link_even_during_a_release(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(1))
        number = vault.begin("release", numbered(2))
        vault._link.shutdown(socket.SHUT_RDWR)
        assert vault.process.wait(5) == 0
        with pytest.raises(Dead):
            vault.wait(number)


def test_a_vault_refuses_to_start_under_a_contract_that_does_not_hold(world: World) -> None:
    from cloister.contract import signing

    unsigned = signing.sign_contract(world.contract(), world.anna)
    with pytest.raises(CloisterError) as refused:
        world.vault(world.config(unsigned))
    assert refused.value.code == "contract.unsigned"
    with pytest.raises(MalformedError) as malformed:
        world.vault({"contract": 1})
    assert malformed.value.code == "vault.config"


def test_the_vault_holds_two_descriptors_and_no_file_of_the_host(world: World) -> None:
    with world.vault() as vault:
        vault.ask("release", numbered(3))
        process = psutil.Process(vault.process.pid)
        assert process.children(recursive=True) == []
        sockets = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert len([name for name in sockets if name.startswith("socket:")]) == 2
        assert not [name for name in sockets if "parquet" in name or ".json" in name]


_OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_ends():
    yield
    while _OPEN:
        _OPEN.pop().close()


class Link:
    """A service on a socketpair, with operations of the test's making."""

    def __init__(self, **operations: object) -> None:
        self.ours, theirs = socket.socketpair()
        self.freed = 0
        self.ours.settimeout(20)
        _OPEN.extend((self.ours, theirs))
        self.service = Service(Pipe(theirs.fileno(), 1 << 24), operations, self._free)  # type: ignore[arg-type]
        threading.Thread(target=self.service.serve, daemon=True).start()
        self._decoder = frames.Decoder()

    def _free(self) -> None:
        self.freed += 1

    def ask(self, world: World, op: str, number: int = 1) -> None:
        request = canonical.encode({"id": number, "op": op})
        self.ours.sendall(frames.encode(Kind.REQUEST, canonical.encode(context(world)), request))

    def replies(self, count: int) -> list[dict]:
        found: list[dict] = []
        import json

        while len(found) < count:
            found += [json.loads(frame.parts[1]) for frame in self._decoder.feed(self.ours.recv(1 << 16))]
        return found


@pytest.mark.parametrize(
    "error", [ValueError("canary-99"), MemoryError("canary-99"), RecursionError(), KeyError("canary-99")]
)
def test_an_unexpected_error_is_the_constant_fault(
    quiet_world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Answered:
        raise error

    link = Link(describe=broken, release=broken)
    for op in ("describe", "release"):
        link.ask(quiet_world, op)
        (reply,) = link.replies(1)
        assert reply["error"]["code"] == "vault.fault"
        assert "canary" not in str(reply) + caplog.text
    assert link.freed == (2 if isinstance(error, MemoryError) else 0)


def test_a_coded_error_passes_as_it_is(quiet_world: World) -> None:
    def refusing(*_: object) -> Answered:
        raise TrustError("broker.forged", "why", next_step="what")

    link = Link(budget=refusing)
    link.ask(quiet_world, "budget")
    (reply,) = link.replies(1)
    assert reply["error"] == TrustError("broker.forged", "why", next_step="what").to_dict()


def test_waiting_requests_are_bounded(quiet_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_PENDING", 3)
    gate = threading.Event()

    def slow(*_: object) -> Answered:
        gate.wait(10)
        return Answered({})

    link = Link(release=slow, describe=lambda *_: Answered({"mode": "x"}))
    for number in range(5):
        link.ask(quiet_world, "release", number)
    busy = link.replies(2)
    assert {reply["error"]["code"] for reply in busy} == {"vault.busy"}
    link.ask(quiet_world, "describe", 9)
    assert link.replies(1)[0]["result"] == {"mode": "x"}
    gate.set()
    assert sorted(reply["id"] for reply in link.replies(3)) == [0, 1, 2]
    time.sleep(0.05)
    link.ask(quiet_world, "release", 11)
    assert link.replies(1)[0]["id"] == 11


# Mock ------------------------------------------------------------------------------------------------


def test_a_mock_vault_walks_the_plan_path_and_charges_nothing(world: World) -> None:
    config = world.config(mode="mock", capsules={})
    network = world.new_network()
    before = world.anna_broker.tip(world.card.population).size
    asked = plan(rho="1/10")
    with world.vault(config, network) as vault:
        answers = [vault.ask_with_routing("release", asked) for _ in range(2)]
        budget = vault.ask("budget")
        described = vault.ask("describe")
        price = vault.ask("price", asked)
        with pytest.raises(CloisterError) as refused:
            vault.ask("release", plan(table="st_anna.nothing"))
    assert refused.value.code == "plan.table"
    assert network.seen == []
    assert world.anna_broker.tip(world.card.population).size == before
    for answer in answers:
        result = answer["result"]
        assert (result["mode"], result["receipt"], result["recalled"]) == ("mock", None, False)
        assert answer["routing"]["receipts"] == answer["routing"]["admissions"] == []
        (rehearsed,) = answer["routing"]["rehearsals"]
        assert rehearsed == {
            "release": result["release"],
            "plan": result["plan_digest"],
            "question": rehearsed["question"],
            "costs": [{"population": world.card.population, "rho": price["rho"]}],
            "usage": price["usage"],
        }, "what it would cost, and no value"
        assert rehearsed["question"].startswith(world.card.name)
        assert result["rho"] == price["rho"]
    assert described["mode"] == "mock"
    assert {limit.get("spent") for limit in budget["limits"]} == {"0", 0, None}


def test_mock_noise_is_real_noise(world: World) -> None:
    with world.vault(world.config(mode="mock", capsules={})) as vault:
        drawn = {vault.ask("release", plan(rho="1/1000"))["raw"][0] for _ in range(8)}
    assert len(drawn) > 1
