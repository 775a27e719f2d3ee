"""How a vault starts: confined or not, with what memory, and how long loading is seen to take."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from vault_world import World, context, numbered

from cloister.errors import MalformedError, RefusedError, UnavailableError
from cloister.vault import boot, state
from cloister.vault import deadline as deadline_module
from cloister.vault.confine import Confinement
from cloister.vault.deadline import Deadline
from cloister.vault.pipes import Pipe
from cloister.vault.relay import Relay
from cloister.vault.release import release
from cloister.wire import canonical, frames
from cloister.wire.frames import Kind

WHOLE = {"landlock": 7, "seccomp": "allowlist"}


@pytest.mark.parametrize("report", [{**WHOLE, "landlock": 0}, {**WHOLE, "seccomp": "none"}, {}])
def test_an_unconfined_vault_opens_demonstration_data_only(quiet_world: World, report: dict) -> None:
    terms = quiet_world.state()[0].terms
    boot._require_confinement(terms, Confinement(report, None))
    card = msgspec.structs.replace(quiet_world.card, grade="production")
    production = msgspec.structs.replace(terms, cards={**terms.cards, card.name: card})
    boot._require_confinement(production, Confinement(WHOLE, None))
    with pytest.raises(RefusedError) as refused:
        boot._require_confinement(production, Confinement(report, None))
    assert (refused.value.code, bool(refused.value.next_step)) == ("vault.isolation", True)


def test_the_engine_stays_below_the_limit_of_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(boot, "_CGROUP_LIMIT", limit)
    unlimited = boot._machine()
    limit.write_text("max\n")
    assert boot._machine() == unlimited
    limit.write_text(f"{1000 << 20}\n")
    assert boot._machine()[1] == "600MiB"
    assert boot._machine()[0] >= 1


def test_a_vault_never_imports_pandas() -> None:
    program = (
        "import os, sys, socket; from cloister.vault import boot\n"
        "ours, theirs = socket.socketpair(); ours.close()\n"
        "boot.run(theirs.fileno(), theirs.fileno()) if False else sys.meta_path.insert(0, boot._WithoutPandas())\n"
        "import pyarrow as pa; pa.table({'x': [1, None]}); pa.scalar(None, pa.int64())\n"
        "assert 'pandas' not in sys.modules and 'pyarrow.dataset' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_loading_is_seen_to_take_what_the_card_says(quiet_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(state, "load_ms", lambda card: loads.append(card.name) or 700)
    vault, transport = quiet_world.state()
    start = time.monotonic()
    charged_at: list[float] = []
    transport.before = lambda at, body: (at == "/v1/append" and charged_at.append(time.monotonic())) or body
    release(vault, context(quiet_world), numbered(1))
    assert charged_at[0] - start >= 0.7
    known = list(loads)
    release(vault, context(quiet_world), numbered(2))
    assert known
    assert loads == known, "a table is loaded once"


def test_a_missed_deadline_is_followed_by_one_time_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline_module, "GRACE_S", 0.1)
    deadline = Deadline(40)
    assert 0.03 < deadline.remaining_s() <= 0.04
    assert not deadline.late()
    time.sleep(0.05)
    assert deadline.late()
    assert 0.04 < deadline.remaining_s() <= 0.09
    deadline.wait()
    assert deadline.remaining_s() < 0.11, "then the grace doubles"
    assert Deadline(0).remaining_s() == 0


_OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_ends():
    yield
    while _OPEN:
        _OPEN.pop().close()


class FarEnd:
    """The agent's side of a relay, under the test's hand."""

    def __init__(self, timeout_s: float = 0.3) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(20)
        _OPEN.extend((self.ours, theirs))
        self.relay = Relay(Pipe(theirs.fileno(), 1 << 20), timeout_s)
        self.relay.start()
        self._decoder = frames.Decoder()

    def asked(self) -> str:
        """Return the id of the next question."""
        while True:
            for frame in self._decoder.feed(self.ours.recv(1 << 16)):
                return msgspec.json.decode(frame.parts[0])["id"]

    def answer(self, body: bytes = b"body", **head: object) -> None:
        self.ours.sendall(frames.encode(Kind.BROKER, canonical.encode(head), body))


def in_thread(far: FarEnd):
    """Post in a thread; return how to get its outcome."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1).submit(far.relay.post, "did", "/v1/tip", b"")


def test_the_relay_takes_only_the_answer_with_its_id() -> None:
    far = FarEnd(timeout_s=5)
    outcome = in_thread(far)
    identifier = far.asked()
    far.ours.sendall(frames.encode(Kind.SHELL, b"{}"))
    far.ours.sendall(frames.encode(Kind.BROKER, b"not json", b"x"))
    far.ours.sendall(frames.encode(Kind.BROKER))
    far.answer(b"foreign", id="someone else's", status=200)
    far.answer(id=identifier, status=200)
    assert outcome.result(30) == b"body"
    far.answer(id=identifier, status=200)


@pytest.mark.parametrize("status", [0, 400, 403, 500, 502])
def test_a_broker_that_was_not_reached_is_unavailable(status: int) -> None:
    far = FarEnd(timeout_s=5)
    outcome = in_thread(far)
    far.answer(id=far.asked(), status=status)
    with pytest.raises(UnavailableError) as down:
        outcome.result(30)
    assert (down.value.code, bool(down.value.next_step)) == ("broker.unavailable", True)


def test_silence_and_a_closed_relay_end_the_wait() -> None:
    far = FarEnd()
    with pytest.raises(UnavailableError):
        in_thread(far).result(30)
    far = FarEnd(timeout_s=30)
    outcome = in_thread(far)
    far.asked()
    far.ours.shutdown(socket.SHUT_RDWR)
    with pytest.raises(UnavailableError):
        outcome.result(30)


def test_an_attester_that_gives_nothing_is_unavailable() -> None:
    from concurrent.futures import ThreadPoolExecutor

    far = FarEnd(timeout_s=5)
    outcome = ThreadPoolExecutor(1).submit(far.relay.attest, b"hello")
    head = canonical.encode({"id": far.asked(), "type": "error", "error": {}})
    far.ours.sendall(frames.encode(Kind.EVENT, head))
    with pytest.raises(UnavailableError) as down:
        outcome.result(30)
    assert down.value.code == "attester.unavailable"


def test_a_pipe_refuses_what_is_too_large() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe = Pipe(theirs.fileno(), 100)
        ours.sendall(frames.encode(Kind.REQUEST, b"x" * 200))
        with pytest.raises(MalformedError):
            next(iter(pipe))
