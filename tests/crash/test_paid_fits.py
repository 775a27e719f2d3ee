"""A fit that is paid and then killed or interrupted: asked again it is free, has one noise, and is the model it was.

A fit asks for many noisy sums one after the other, and nothing of them leaves the vault before its receipt is
deposited. So a vault that dies in the middle has shown nothing: a new one runs the charge from its first sum, with
noise of its own, and what it deposits is the only transcript there ever is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from forker import Forker
from stepping_vault import DRAWN
from test_kill_schedules import charged, check_accounts
from vault_agent import Dead, Network, VaultProcess
from vault_world import World

import cloister.sandbox as cl
from cloister.errors import CloisterError, FaultError, UnavailableError
from cloister.learn import KMeans, LogisticRegression
from cloister.plan import codec
from cloister.plan.learning import planned_fit
from cloister.plan.learning.natural import scores
from cloister.plan.learning.program import model
from cloister.plan.rounding import short
from cloister.plan.typing import infer
from cloister.receipt.receipt import Receipt
from cloister.sandbox import session as sessions
from cloister.sandbox.link import Link
from cloister.sandbox.session import Session
from cloister.wire import canonical, frames
from cloister.wire.envelope import Envelope, unverified_payload

STEPS = 5
SUMS = STEPS + 2
"""Vector sums of the logistic regression below: a Gram, the classes, and its gradients."""
NOISE, SIGN, SETTLE, REPLY = 8, 9, 10, 11
MOMENTS = {
    "after the first sum": DRAWN,
    "after the first gradient": DRAWN + 2,
    "in the middle": DRAWN + SUMS // 2 + 1,
    "after the last sum": DRAWN + SUMS - 1,
    "before signing": SIGN,
    "before the deposit": SETTLE,
}


class Started:
    """Starts vaults quickly."""

    def __init__(self, world: World, forker: Forker) -> None:
        self._more = {"config": world.config(), "forker": forker}
        self._vault = world.vault

    def __call__(self, network: Network | None = None, **more: Any) -> VaultProcess:
        return self._vault(**{**self._more, "network": network, **more})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("fits"))
    yield world
    sessions.use(None)
    world.close()


@pytest.fixture(scope="module")
def start(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    forker = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield Started(world, forker)
    forker.close()


class Peer:
    """What a session asks: a vault, which may end while it is asked."""

    def __init__(self, vault: VaultProcess) -> None:
        self._vault = vault
        self.released: list[dict[str, Any]] = []

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            found = self._vault.ask(op, plan)
        except Dead:
            raise UnavailableError("link.closed", "the vault ended") from None
        if op == "release":
            self.released.append(found)
        return found


def visits(peer: Any) -> cl.Frame:
    session = Session(peer)
    sessions.use(session)
    return cl.Frame.of_table(session, "st_anna.visits")


def fitted(peer: Any, epsilon: float) -> LogisticRegression:
    """Ask for the model, as an analyst does: again if a busy machine did not finish by the planned deadline."""
    frame, asked = visits(peer), LogisticRegression(steps=STEPS, epsilon=epsilon)
    try:
        return asked.fit(frame[["age", "sex"]], frame.cost >= 10)
    except FaultError:
        return asked.fit(frame[["age", "sex"]], frame.cost >= 10)


def receipt_of(answer: dict[str, Any]) -> Receipt:
    return msgspec.json.decode(unverified_payload(msgspec.convert(answer["receipt"], Envelope)), type=Receipt)


def made_again(answer: dict[str, Any], world: World) -> tuple[list[float], float]:
    """Return weights and constant of the model that a receipt's transcript makes: what a reviewer computes."""
    receipt = receipt_of(answer)
    plan = codec.decode(msgspec.to_builtins(receipt.plan))
    known = planned_fit(plan, infer(plan.source, {"st_anna.visits": world.card}))
    noise = [float.fromhex(part.sigma) for part in receipt.noise]
    found = model(known.program, known.steps, noise, [int(text) for text in receipt.raw])
    (row,) = short(scores(found, known.coded), known.coded)
    return [float(value) for value in row[1:]], float(row[0])


def settled(network: Network) -> int:
    return sum(path == "/v1/settle" for path, _, _ in network.seen)


def spent(world: World) -> tuple[int, Fraction]:
    tip = world.anna_broker.tip(world.card.population)
    return tip.size, tip.spent


IN_CI = ("after the first sum", "in the middle", "before the deposit")
EACH = [
    pytest.param(moment, id=name, marks=() if name in IN_CI else pytest.mark.slow) for name, moment in MOMENTS.items()
]


@pytest.mark.parametrize("moment", EACH)
def test_a_paid_fit_that_was_killed_is_free_and_has_one_noise(world: World, start: Started, moment: int) -> None:
    epsilon = 1 + 0.001 * moment  # a question of its own
    network, reached = world.new_network(), []
    before = spent(world)

    def stop(at: int) -> bool:
        reached.append(at)
        return at != moment

    with (
        start(network, steps=stop) as vault,
        pytest.raises(UnavailableError),
    ):
        fitted(Peer(vault), epsilon)
    assert reached[-1] == moment
    assert vault.process.poll() == -9
    paid = spent(world)
    assert paid[0] == before[0] + 1, "charged before the first sum"
    assert settled(network) == 0, "nothing of a fit leaves before its deposit"
    with start(network) as vault:
        peer = Peer(vault)
        found = fitted(peer, epsilon)
        again = fitted(peer, epsilon)
    (answer, recalled) = peer.released
    assert (answer["recalled"], recalled["recalled"]) == (False, True)
    assert recalled["raw"] == answer["raw"]
    assert recalled["receipt"] == answer["receipt"]
    assert settled(network) == 1, "one transcript"
    assert spent(world) == paid, "free"
    assert charged(world, answer["charge_id"]) == 1
    check_accounts(world)
    assert Fraction(answer["rho"]) == paid[1] - before[1]
    weights, constant = made_again(answer, world)
    assert (found.coef_[0].tolist(), float(found.intercept_[0])) == (weights, constant)
    assert again.to_json() == found.to_json()
    with start() as third:
        peer = Peer(third)
        assert fitted(peer, epsilon).to_json() == found.to_json()
    assert peer.released[0]["recalled"]


@pytest.mark.slow
def test_a_fit_killed_again_and_again_is_paid_once_and_is_an_unbroken_one(world: World, start: Started) -> None:
    """Killed three times at other sums; then its receipt differs from an unbroken run's by charge and noise alone."""
    network, before = world.new_network(), spent(world)
    for moment in (DRAWN, DRAWN + 4, SETTLE):
        with (
            start(network, steps=lambda at, moment=moment: at != moment) as vault,
            pytest.raises(UnavailableError),
        ):
            fitted(Peer(vault), 1.5)
    with start(network) as vault:
        broken = Peer(vault)
        fitted(broken, 1.5)
    assert settled(network) == 1
    assert spent(world)[0] == before[0] + 1
    with start(config=world.config()) as vault:
        unbroken = Peer(vault)
        fitted(unbroken, 1.5)
    one, two = (receipt_of(peer.released[0]) for peer in (broken, unbroken))
    assert one.raw != two.raw
    for name in ("plan", "noise", "rho"):
        assert getattr(one, name) == getattr(two, name), name
    assert len(one.raw) == len(two.raw)
    assert one.charge_id != two.charge_id


def test_a_killed_search_for_clusters_is_free_too(world: World, start: Started) -> None:
    network, before = world.new_network(), spent(world)

    def clusters(peer: Any) -> KMeans:
        return KMeans(2, max_iter=3, epsilon=1).fit(visits(peer)[["age", "cost"]])

    with start(network, steps=lambda at: at != DRAWN + 1) as vault, pytest.raises(UnavailableError):
        clusters(Peer(vault))
    with start(network) as vault:
        peer = Peer(vault)
        found = clusters(peer)
        assert clusters(peer).cluster_centers_.tolist() == found.cluster_centers_.tolist()
    assert [answer["recalled"] for answer in peer.released] == [False, True]
    assert (settled(network), spent(world)[0]) == (1, before[0] + 1)
    check_accounts(world)


# Ctrl-C ----------------------------------------------------------------------------------------------


class Agent:
    """Between the kernel's link and the vault, as the enclave's agent: a request goes on with its context."""

    def __init__(self, vault: VaultProcess) -> None:
        self._vault = vault
        ours, self._end = socket.socketpair()
        self.link = Link(ours.detach())
        self.answers: list[dict[str, Any]] = []
        self._threads = [threading.Thread(target=self._relay, daemon=True)]
        self._threads[0].start()

    def _relay(self) -> None:
        decoder = frames.Decoder()
        while data := self._end.recv(1 << 18):
            for frame in decoder.feed(data):
                self._threads.append(threading.Thread(target=self._serve, args=(frame.parts[0],), daemon=True))
                self._threads[-1].start()

    def _serve(self, body: bytes) -> None:
        asked = msgspec.json.decode(body)
        try:
            reply = {"id": asked["id"], "result": self._vault.ask(asked["op"], asked.get("plan"))}
        except CloisterError as error:
            reply = {"id": asked["id"], "error": error.to_dict()}
        if asked["op"] == "release" and "result" in reply:
            self.answers.append(reply["result"])
        with contextlib.suppress(OSError):
            self._end.sendall(frames.encode(frames.Kind.REPLY, canonical.encode(reply)))

    def close(self) -> None:
        self.link.close()
        self._end.close()
        for thread in self._threads:
            thread.join(10)


@pytest.mark.parametrize("moment", [DRAWN, DRAWN + 4, SETTLE], ids=["first sum", "in the middle", "before the deposit"])
def test_a_fit_interrupted_by_the_analyst_is_paid_once_and_free_the_second_time(
    world: World, start: Started, moment: int
) -> None:
    """Ctrl-C ends the waiting, not the fit: run again, the cell gets the model that was paid for."""
    stopped, epsilon, network = threading.Event(), 1.2 + 0.001 * moment, world.new_network()
    before = spent(world)

    def interrupt(at: int) -> bool:
        if at == moment and not stopped.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            assert stopped.wait(30), "the cell did not stop while the fit was under way"
        return True

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with start(network, steps=interrupt) as vault:
            agent = Agent(vault)
            try:
                with pytest.raises(KeyboardInterrupt, match="run the cell again: nothing more is charged"):
                    fitted(agent.link, epsilon)
                stopped.set()
                found = fitted(agent.link, epsilon)
            finally:
                stopped.set()
                agent.close()
    finally:
        signal.signal(signal.SIGINT, old)
    # A pause may outlast the planned deadline; then the first run is a fault, and the second the first to answer.
    late, again = agent.answers[0], agent.answers[-1]
    assert [answer["recalled"] for answer in agent.answers] == [False, True][: len(agent.answers)]
    assert again["raw"] == late["raw"]
    assert (settled(network), spent(world)[0]) == (1, before[0] + 1)
    assert charged(world, late["charge_id"]) == 1
    weights, constant = made_again(late, world)
    assert (found.coef_[0].tolist(), float(found.intercept_[0])) == (weights, constant)
    assert found.release.recalled == again["recalled"]
