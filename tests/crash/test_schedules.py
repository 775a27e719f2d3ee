"""Random schedules of crashes, rollbacks and clones on two brokers (``schedules``): 500 nightly, one of each in CI."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_moves import PATHS, STEPS, VICTIMS, Move, draw
from forker import Forker
from pair_world import pair
from schedules import Schedule, check_logs
from vault_world import World

IN_NIGHTLY = 500
LANES = 4
ONE_EACH = (
    Move("step", step=9),
    Move("message", "all", path="/v1/settle", side="after", questions=(0, 1)),
    Move("moment", "bank", seconds=0.05, questions=(0, 2)),
    Move("twin", path="/v1/settle", side="before"),
    Move("file", "anna"),
    Move("running", "bank"),
    Move("directory", "anna"),
    Move("clone", "bank"),
)


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    forker = Forker(tmp_path_factory.mktemp("forker") / "log")
    yield forker
    forker.close()


def run(folder: Path, forker: Forker, seeds: range, lanes: int) -> None:
    """Run schedules in lanes, each with brokers of its own, and audit the brokers at the end."""

    def lane(number: int) -> None:
        world = pair(folder / str(number), forker=forker)
        try:
            for seed in seeds[number::lanes]:
                try:
                    Schedule(world, forker, folder / str(number)).run(draw(seed))
                except BaseException as error:
                    error.add_note(f"schedule {seed}: {draw(seed)}")
                    raise
            check_logs(world)
        finally:
            world.close()

    with ThreadPoolExecutor(lanes) as pool:
        for outcome in [pool.submit(lane, number) for number in range(lanes)]:
            outcome.result()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, forker: Forker) -> Iterator[World]:
    world = pair(tmp_path_factory.mktemp("pair"), forker=forker)
    yield world
    check_logs(world)
    world.close()


@pytest.mark.parametrize("move", ONE_EACH, ids=lambda move: move.kind)
def test_one_move_of_each_kind(world: World, forker: Forker, tmp_path: Path, move: Move) -> None:
    Schedule(world, forker, tmp_path).run([move])


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_many_schedules(tmp_path: Path, forker: Forker) -> None:
    run(tmp_path, forker, range(1000, 1000 + IN_NIGHTLY), LANES)


def test_the_schedules_reach_everything() -> None:
    """Of 500 schedules each kind of move, each step, each message with each victim on each side is in some."""
    moves = [move for seed in range(1000, 1500) for move in draw(seed)]
    assert {move.step for move in moves if move.kind == "step"} == set(range(1, STEPS + 1))
    asked = {(move.path, move.side, move.victim) for move in moves if move.kind == "message"}
    assert asked == {(path, side, victim) for path in PATHS for side in ("before", "after") for victim in VICTIMS}
    kinds = {(move.kind, move.victim) for move in moves if move.kind in {"file", "running", "directory", "clone"}}
    assert len(kinds) == 8
    assert {"twin", "moment"} <= {move.kind for move in moves}
    assert {move.kind for move in ONE_EACH} == {move.kind for move in moves}
    assert draw(7) == draw(7)
