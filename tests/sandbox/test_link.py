"""The sandbox's end of the link survives interrupts, strange orders, garbage and the end of its peer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import sandbox_world as world

from cloister.errors import BudgetError, CloisterError, MalformedError, UnavailableError
from cloister.plan.link import MAX_REQUEST
from cloister.sandbox.link import ENVIRONMENT, Link
from cloister.wire import frames


class Agent:
    """The other end of the link, by hand."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.link = Link(ours.detach())
        self.end.settimeout(10)
        self._decoder = frames.Decoder()
        self._frames: list[frames.Frame] = []

    def take(self) -> dict[str, Any]:
        """Return the next request."""
        while not self._frames:
            self._frames.extend(self._decoder.feed(self.end.recv(1 << 16)))
        frame = self._frames.pop(0)
        assert frame.kind == frames.Kind.REQUEST
        assert len(frame.parts) == 1
        return msgspec.json.decode(frame.parts[0])  # type: ignore[no-any-return]

    def reply(self, number: int, **content: Any) -> None:
        self.end.sendall(frames.encode(frames.Kind.REPLY, msgspec.json.encode({"id": number, **content})))


@pytest.fixture
def agent() -> Iterator[Agent]:
    found = Agent()
    yield found
    found.link.close()
    found.end.close()


class Asker(threading.Thread):
    """Asks in a thread and keeps what came of it."""

    def __init__(self, link: Link, op: str = "budget", plan: dict[str, Any] | None = None) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: link.request(op, plan)
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._ask()
        except CloisterError as error:
            self.error = error

    def done(self) -> Asker:
        self.join(10)
        assert not self.is_alive()
        return self


def test_a_request_travels_as_the_protocol_says(agent: Agent) -> None:
    asker = Asker(agent.link, "price", {"op": "vector_sum"})
    assert agent.take() == {"id": 1, "op": "price", "plan": {"op": "vector_sum"}}
    agent.reply(1, result={"rho": "1/8"})
    assert asker.done().result == {"rho": "1/8"}


def test_replies_find_their_request_in_any_order(agent: Agent) -> None:
    askers, numbers = {}, []
    for _ in range(8):
        asker = Asker(agent.link)
        number = agent.take()["id"]
        askers[number] = asker
        numbers.append(number)
    assert len(set(numbers)) == 8
    for number in reversed(numbers):
        agent.reply(number, result={"for": number})
    assert {number: asker.done().result["for"] for number, asker in askers.items()} == {n: n for n in numbers}


def test_a_reply_in_single_bytes_is_one_reply(agent: Agent) -> None:
    asker = Asker(agent.link)
    number = agent.take()["id"]
    for byte in frames.encode(frames.Kind.REPLY, msgspec.json.encode({"id": number, "result": {"x": 1}})):
        agent.end.sendall(bytes([byte]))
    assert asker.done().result == {"x": 1}


def test_errors_come_back_as_they_were_raised(agent: Agent) -> None:
    asker = Asker(agent.link)
    error = BudgetError("budget.exhausted", "spent", clause="budgets", next_step="ask for more", nearest=("a", "b"))
    agent.reply(agent.take()["id"], error=error.to_dict())
    found = asker.done().error
    assert isinstance(found, BudgetError)
    assert found.to_dict() == error.to_dict()


def test_an_interrupt_leaves_the_link_usable_and_the_late_reply_is_dropped(agent: Agent) -> None:
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt) as stopped:
            agent.link.request("release", {"op": "vector_sum"})
    finally:
        signal.signal(signal.SIGINT, old)
    assert type(stopped.value).__name__ == "KeyboardInterrupt", "the name every Jupyter client knows"
    assert stopped.value.__suppress_context__
    shown = "\n".join(stopped.value._render_traceback_())  # type: ignore[attr-defined]
    assert "run the cell again: nothing more is charged" in shown
    assert "threading" not in shown
    late = agent.take()["id"]
    asker = Asker(agent.link, "release", {"op": "vector_sum"})
    again = agent.take()["id"]
    assert again != late
    agent.reply(late, result={"value": "stale"})
    agent.reply(again, result={"value": "fresh"})
    assert asker.done().result == {"value": "fresh"}


def test_many_interrupts_never_cut_a_frame(agent: Agent) -> None:
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = {"op": "vector_sum", "padding": "x" * 200_000}
    try:
        for _ in range(10):
            threading.Timer(0.005, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                agent.link.request("release", plan)
                time.sleep(1)
    finally:
        signal.signal(signal.SIGINT, old)
    numbers = [agent.take()["id"] for _ in range(10)]
    assert numbers == sorted(set(numbers))
    asker = Asker(agent.link)
    agent.reply(agent.take()["id"], result={"ok": True})
    assert asker.done().result == {"ok": True}


@pytest.mark.parametrize(
    "data",
    [
        frames.encode(frames.Kind.REPLY, b"not json"),
        frames.encode(frames.Kind.REPLY, b'{"id": 1, "surprise": 1}'),
        frames.encode(frames.Kind.REPLY, b'{"id": "1"}'),
        frames.encode(frames.Kind.REPLY, b"{}", b"{}"),
        frames.encode(frames.Kind.EVENT, b'{"id": 1, "result": {}}'),
        b"\xff\xff\xff\xff\x07\x00\x01",
        b"\x00\x00\x00\x02\x07\x00\x01",
    ],
)
def test_garbage_closes_the_link_for_good(agent: Agent, data: bytes) -> None:
    asker = Asker(agent.link)
    agent.take()
    agent.end.sendall(data)
    assert isinstance(asker.done().error, MalformedError)
    assert asker.error is not None
    with pytest.raises(MalformedError, match=r"link\.malformed"):
        agent.link.request("budget")


@pytest.mark.parametrize("content", [{}, {"result": {}, "error": {}}])
def test_a_reply_holds_a_result_or_an_error(agent: Agent, content: dict[str, Any]) -> None:
    asker = Asker(agent.link)
    agent.reply(agent.take()["id"], **content)
    assert isinstance(asker.done().error, MalformedError)


def test_a_reply_to_nobody_concerns_everybody(agent: Agent) -> None:
    askers = [Asker(agent.link) for _ in range(2)]
    for _ in askers:
        agent.take()
    agent.reply(0, error=MalformedError("link.request", "unreadable").to_dict())
    errors = [asker.done().error for asker in askers]
    assert [error.code for error in errors if isinstance(error, CloisterError)] == ["link.request"] * 2


def test_a_closed_link_wakes_everyone_who_waits(agent: Agent) -> None:
    askers = [Asker(agent.link) for _ in range(3)]
    for _ in askers:
        agent.take()
    agent.end.close()
    for asker in askers:
        error = asker.done().error
        assert isinstance(error, UnavailableError)
        assert "no charge" in error.next_step
    with pytest.raises(UnavailableError, match=r"link\.closed"):
        agent.link.request("budget")


def test_an_oversized_request_is_not_sent(agent: Agent) -> None:
    with pytest.raises(MalformedError, match=r"link\.size"):
        agent.link.request("release", {"op": "x" * MAX_REQUEST})
    asker = Asker(agent.link)
    agent.reply(agent.take()["id"], result={})
    assert asker.done().result == {}


def test_a_forked_child_is_told_so(agent: Agent) -> None:
    child = os.fork()
    if child == 0:
        try:
            agent.link.request("budget")
        except CloisterError as error:
            os._exit(0 if error.code == "link.fork" else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("value", ["", "-1", "abc", "99999"])
def test_outside_a_kernel_the_way_in_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, value)
    with pytest.raises(CloisterError, match=r"link\.absent") as caught:
        Link.from_environment()
    assert "kernel" in caught.value.next_step


CELL = """
import cloister.contract.card  # whoever imports the package first, cl.contract() stays a function
import cloister as cl
print(cl.contract().mode)
visits = cl.table("clinic.visits")
print(visits[visits.age >= 18].groupby("sex").bmi.mean().round(3).to_json())
try:
    cl.table("clinic.visit")
except cl.CloisterError as error:
    print(error.code, error.nearest)
"""


def test_a_cell_in_a_process_of_its_own_over_the_real_link() -> None:
    vault = world.Vault(noise=False, epsilon="1000")
    ours, theirs = socket.socketpair()
    environment = {**os.environ, ENVIRONMENT: str(theirs.fileno())}
    with subprocess.Popen(
        [sys.executable, "-c", CELL], env=environment, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
    ) as child:
        theirs.close()
        decoder = frames.Decoder()
        while data := ours.recv(1 << 16):
            for frame in decoder.feed(data):
                request = msgspec.json.decode(frame.parts[0])
                result = vault.request(request["op"], request["plan"])
                reply = msgspec.json.encode({"id": request["id"], "result": result})
                ours.sendall(frames.encode(frames.Kind.REPLY, reply))
        output, _ = child.communicate(timeout=60)
    ours.close()
    first, second, third = output.splitlines()
    frame = world.reference(world.VISITS)
    expected = frame[frame.age >= 18].groupby("sex", observed=False).bmi.mean().round(3).to_json()
    assert first == "mock"
    assert second == expected
    assert third == "plan.table (\"cl.table('clinic.visits')\",)"
