"""What fails after the charge is one constant fault, at the deadline, counted, and bounded to three (G3)."""

from __future__ import annotations

import time
from typing import Any

import duckdb
import pytest
from vault_world import World, context, numbered

from cloister.errors import FaultError
from cloister.vault import release as release_module
from cloister.vault.faults import MAX_FAULTS, fault
from cloister.vault.release import release

SECRET = "canary-8841"


class Failing:
    """An engine that loads as the real one does and fails when it runs."""

    def __init__(self, error: BaseException, after_s: float = 0) -> None:
        self.error = error
        self.after_s = after_s
        self.runs = 0

    def load(self, *_: Any) -> None:
        """Load nothing."""

    def run(self, _analysis: Any) -> Any:
        self.runs += 1
        time.sleep(self.after_s)
        raise self.error


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

    monkeypatch.setattr(release_module, "add_noise", no_entropy)
    with pytest.raises(FaultError) as failed:
        release(state, context(quiet_world), numbered(1))
    assert failed.value.code == "vault.fault"
    assert "/v1/settle" not in transport.posts


def test_a_run_that_overshoots_leaves_at_the_next_doubling(quiet_world: World) -> None:
    state, _ = quiet_world.state(engine=Failing(ValueError(), after_s=0.12))
    start = time.monotonic()
    with pytest.raises(FaultError):
        release(state, context(quiet_world), numbered(1))
    assert time.monotonic() - start >= 0.2


def test_the_steps_are_announced_in_order(quiet_world: World) -> None:
    state, _ = quiet_world.state()
    steps: list[int] = []
    state.on_step = steps.append
    release(state, context(quiet_world), numbered(1))
    assert steps == list(range(1, 12))
    steps.clear()
    release(state, context(quiet_world), numbered(1))
    assert steps == [1, 2, 3, 4, 5], "what is recalled is neither charged nor run"
