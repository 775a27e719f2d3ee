"""What fails after the charge is one constant fault, at the deadline, counted, and bounded to three (G3)."""

from __future__ import annotations

import threading
import time
from typing import Any

import duckdb
import pytest
from vault_world import World, context, numbered

from cloister.errors import FaultError, UnavailableError
from cloister.plan import codec
from cloister.vault import deadline as deadline_module
from cloister.vault import faults as faults_module
from cloister.vault import thresholds
from cloister.vault.authorise import authorise
from cloister.vault.engine import Engine
from cloister.vault.faults import MAX_FAULTS, fault
from cloister.vault.release import release

SECRET = "canary-8841"


class Failing:
    """An engine that loads as the real one does and fails when it runs."""

    def __init__(self, error: BaseException, after_s: float = 0) -> None:
        self.error = error
        self.after_s = after_s
        self.runs = 0
        self.stopped = threading.Event()

    def load(self, *_: Any) -> None:
        """Load nothing."""

    def run(self, _analysis: Any) -> Any:
        self.runs += 1
        self.stopped.wait(self.after_s)
        raise self.error

    def interrupt(self) -> None:
        self.stopped.set()


@pytest.mark.parametrize(
    "error",
    [
        duckdb.ConversionException(f"Could not convert {SECRET}"),
        FaultError("vault.engine", "the release could not be computed"),
        MemoryError(SECRET),
        ZeroDivisionError(SECRET),
        RecursionError(SECRET),
    ],
)
def test_every_failure_looks_the_same_and_comes_at_the_deadline(quiet_world: World, error: BaseException) -> None:
    state, transport = quiet_world.state(engine=Failing(error))
    before = quiet_world.anna_broker.tip(quiet_world.card.population).size
    start = time.monotonic()
    with pytest.raises(FaultError) as failed:
        release(state, context(quiet_world), numbered(1))
    assert time.monotonic() - start >= 0.1
    assert failed.value.to_dict() == fault().to_dict()
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert SECRET not in str(failed.value)
    assert quiet_world.anna_broker.tip(quiet_world.card.population).size == before + 1, "charged: no refund (G2)"
    assert "/v1/settle" not in transport.posts


def test_three_faults_suspend_the_contract_in_this_vault(quiet_world: World) -> None:
    engine = Failing(ValueError(SECRET))
    state, transport = quiet_world.state(engine=engine)
    for number in range(MAX_FAULTS):
        with pytest.raises(FaultError) as failed:
            release(state, context(quiet_world), numbered(number))
        assert failed.value.code == "vault.fault"
    transport.posts.clear()
    with pytest.raises(FaultError) as failed:
        release(state, context(quiet_world), numbered(9))
    assert (failed.value.code, bool(failed.value.next_step)) == ("vault.suspended", True)
    assert engine.runs == MAX_FAULTS
    assert transport.posts == []


def test_a_retry_after_a_fault_runs_again_for_free(quiet_world: World) -> None:
    document = quiet_world.sign(quiet_world.contract())
    broken, _ = quiet_world.state(document, engine=Failing(ValueError()))
    with pytest.raises(FaultError):
        release(broken, context(quiet_world), numbered(1))
    charged = quiet_world.anna_broker.tip(quiet_world.card.population)
    sound, _ = quiet_world.state(document)
    assert not release(sound, context(quiet_world), numbered(1)).recalled
    assert quiet_world.anna_broker.tip(quiet_world.card.population).spent == charged.spent


def test_noise_that_fails_releases_nothing(quiet_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    state, transport = quiet_world.state()

    def no_entropy(*_: Any) -> list[int]:
        raise OSError(SECRET)

    monkeypatch.setattr(thresholds, "add_noise", no_entropy)
    with pytest.raises(FaultError) as failed:
        release(state, context(quiet_world), numbered(1))
    assert failed.value.code == "vault.fault"
    assert "/v1/settle" not in transport.posts


class Slow(Engine):
    """A real engine whose runs take some time more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(1)
        self.seconds = seconds

    def run(self, analysis: Any) -> Any:
        exact = super().run(analysis)
        time.sleep(self.seconds)
        return exact


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that stops 0.6 s after the deadline and speaks at 0.8 s."""
    monkeypatch.setattr(deadline_module, "STOP_S", 0.6)
    monkeypatch.setattr(deadline_module, "GRACE_S", 0.8)


@pytest.mark.parametrize("after_s", [0.15, 60])
def test_a_run_that_overshoots_is_stopped_and_leaves_at_one_time(
    quiet_world: World, short_grace: None, after_s: float
) -> None:
    state, _ = quiet_world.state(engine=Failing(ValueError(), after_s=after_s))
    state.open(authorise(codec.decode(numbered(1)), context(quiet_world), state.terms))
    start = time.monotonic()
    with pytest.raises(FaultError):
        release(state, context(quiet_world), numbered(1))
    assert 0.9 <= time.monotonic() - start < 30, "a failure at 0.15 s and one at 60 s look alike"


def test_a_late_answer_leaves_when_a_fault_would(quiet_world: World, short_grace: None) -> None:
    state, _ = quiet_world.state(engine=Slow(0.15))
    state.open(authorise(codec.decode(numbered(1)), context(quiet_world), state.terms))
    start = time.monotonic()
    assert not release(state, context(quiet_world), numbered(1)).recalled
    assert time.monotonic() - start >= 0.9


def test_an_answer_after_the_time_to_stop_is_a_fault(quiet_world: World, short_grace: None) -> None:
    state, transport = quiet_world.state(engine=Slow(0.8))
    with pytest.raises(FaultError):
        release(state, context(quiet_world), numbered(1))
    assert "/v1/settle" not in transport.posts


def test_late_answers_are_counted_and_bounded(
    quiet_world: World, short_grace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults_module, "MAX_LATE", 1)
    state, _ = quiet_world.state(engine=Slow(0.15))
    assert not release(state, context(quiet_world), numbered(1)).recalled
    with pytest.raises(FaultError) as failed:
        release(state, context(quiet_world), numbered(2))
    assert failed.value.code == "vault.fault"


def test_a_query_that_runs_too_long_is_interrupted() -> None:
    engine = Engine(1)
    deadline = deadline_module.Deadline(-3_900)  # the time to stop is 0.1 s from now
    start = time.monotonic()
    with pytest.raises(duckdb.InterruptException), deadline.stopping(engine.interrupt):
        engine._cursor.execute("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b").fetchall()
    assert time.monotonic() - start < 10
    assert engine._cursor.execute("SELECT 1").fetchall() == [(1,)], "a late interrupt does not hit the next run"


def test_the_size_of_a_deposit_does_not_depend_on_the_noise(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that drops deposits gets a charge executed again: sizes must not tell one noise from another."""
    document = quiet_world.sign(quiet_world.contract())
    sizes = set()
    for raw in ([7], [-12], [123], [2**62 + 1], [-(2**63)]):
        monkeypatch.setattr(thresholds, "add_noise", lambda *_, raw=raw: list(raw))
        state, transport = quiet_world.state(document)
        post = transport.post

        def lose(broker: str, path: str, body: bytes, post: Any = post) -> bytes:
            if path != "/v1/settle":
                return post(broker, path, body)
            sizes.add(len(body))
            raise UnavailableError("broker.unavailable", "lost")

        monkeypatch.setattr(transport, "post", lose)
        with pytest.raises(UnavailableError):
            release(state, context(quiet_world), numbered(1))
    assert len(sizes) == 1, sizes


def test_the_steps_are_announced_in_order(quiet_world: World) -> None:
    state, _ = quiet_world.state()
    steps: list[int] = []
    state.on_step = steps.append
    release(state, context(quiet_world), numbered(1))
    assert steps == list(range(1, 12))
    steps.clear()
    release(state, context(quiet_world), numbered(1))
    assert steps == [1, 2, 3, 4, 5], "what is recalled is neither charged nor run"
