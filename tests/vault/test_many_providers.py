"""1, 2, 5 and 20 providers under one contract: one notebook for all, and each of them can stop it at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from providers_world import Providers, open_session

from cloister.contract import signing
from cloister.contract.states import Decision
from cloister.errors import CloisterError
from cloister.sandbox import session as sessions

ROWS = 1024
NUMBERS = [1, 2, 5, pytest.param(20, marks=pytest.mark.slow)]

# The notebook: not a word of it depends on how many providers there are.
CELLS = (
    """
import cloister as cl
tables = [cl.table(name) for name in sorted(cl.tables())]
people = cl.align(*tables) if len(tables) > 1 else tables[0]
score = people[[name for name in people if name.startswith("score")][-1]]
""",
    "n = (score >= 50).sum(share=0.002)",
    "mean = score.mean(share=0.002)",
    "by = people.groupby([name for name in people if name.startswith('group')][0]).size(share=0.002)",
)
ANOTHER = "again = (score >= {number}).sum(share=0.002)"


@pytest.fixture(scope="module", params=NUMBERS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Providers:
    return Providers(tmp_path_factory.mktemp("providers"), request.param, ROWS)


@contextlib.contextmanager
def notebook(world: Providers) -> Iterator[dict[str, Any]]:
    """Run the cells in a session of their own."""
    sessions.use(open_session(world))
    try:
        names: dict[str, Any] = {}
        for cell in CELLS:
            exec(cell, names)
        yield names
    finally:
        sessions.use(None)


def sizes(world: Providers) -> list[int]:
    """Return how many entries each provider's account has."""
    found = []
    for home, card in zip(world.homes, world.cards, strict=True):
        accounts = home.open_accounts()
        found.append(accounts.read_tip(card.population).size)
        accounts.close()
    return found


def test_one_notebook_for_any_number(world: Providers) -> None:
    """Every provider's account pays for every release, once, and the answers are near the truth."""
    before = sizes(world)
    with notebook(world) as names:
        expected, n, mean = ROWS * 0.9 ** len(world.cards) / 2, names["n"], names["mean"]
        # Noise beyond six standard errors, and a sample as far from its expectation, do not happen.
        assert abs(float(n) - expected) < 6 * (n.release.stderr + expected**0.5)
        assert abs(float(mean) - 50) < 6 * (mean.release.stderr + 30 / (2 * expected) ** 0.5)
        assert {"a", "b"} <= set(names["by"].index)
    assert [after - was for after, was in zip(sizes(world), before, strict=True)] == [3] * len(world.cards)


def test_each_can_stop_it_at_once(world: Providers) -> None:
    """Whoever suspends it: the very next question is refused, in the broker's name, and no other account is full."""
    digest, now = signing.payload_digest(world.document), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with notebook(world) as names:
        for number, home in enumerate(world.homes):
            home.contracts.decide(digest, Decision("suspended", now, "a look at the books"))
            with pytest.raises(CloisterError) as stopped:
                exec(ANOTHER.format(number=number), names)
            assert stopped.value.code == "contract.inactive"
            assert "a look at the books" in stopped.value.reason
            home.contracts.decide(digest, Decision("active", now, ""))
            exec(ANOTHER.format(number=number), names)  # and goes on as soon as it may
