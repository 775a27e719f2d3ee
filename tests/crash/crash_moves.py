"""What goes wrong in a schedule, and how schedules are drawn from a seed."""

from __future__ import annotations

import random
from typing import NamedTuple

STEPS = 11
PATHS = ("/v1/session", "/v1/append", "/v1/settle")
VICTIMS = ("vault", "anna", "bank", "brokers", "all")


class Move(NamedTuple):
    """One thing that goes wrong.

    ``step``: kill -9 at a numbered step of a release. ``message``: kill before or after the nth message of a kind.
    ``moment``: kill after so many seconds. ``twin``: a second enclave with the same state takes over. ``file``: a
    broker is stopped, its accounts are put back, and it is started. ``running``: they are put back while it runs.
    ``directory``: also what is beside them, so that the broker cannot know. ``clone``: the host leads the vault to a
    broker that runs on an older copy.
    """

    kind: str
    victim: str = "vault"
    step: int = 0
    path: str = ""
    side: str = ""
    nth: int = 1
    seconds: float = 0.0
    questions: tuple[int, ...] = (0,)


def draw(seed: int) -> list[Move]:
    """Return the moves of a schedule: two, or three."""
    rng = random.Random(seed)
    moves = []
    for _ in range(rng.choice((2, 2, 3))):
        kind = rng.choices(("step", "message", "moment", "twin", "file", "running", "directory", "clone"),
                           (8, 8, 4, 3, 2, 2, 1, 1))[0]  # fmt: skip
        asked = tuple(rng.choices(range(3), k=rng.randint(1, 3)))
        broker = rng.choice(("anna", "bank"))
        moves.append({
            "step": lambda asked=asked: Move("step", step=rng.randint(1, STEPS), questions=asked[:1]),
            "message": lambda asked=asked: Move("message", rng.choice(VICTIMS), path=rng.choice(PATHS),
                                                side=rng.choice(("before", "after")), nth=rng.randint(1, 2),
                                                questions=asked),
            "moment": lambda asked=asked: Move("moment", rng.choice(VICTIMS), seconds=rng.uniform(0, 0.3),
                                               questions=asked),
            "twin": lambda asked=asked: Move("twin", path=rng.choice(PATHS[1:]), side=rng.choice(("before", "after")),
                                             questions=asked[:1]),
        }.get(kind, lambda kind=kind, broker=broker, asked=asked: Move(kind, broker, questions=asked))())  # fmt: skip
    return moves
