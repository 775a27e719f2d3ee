"""Fixtures of the broker's tests (the world itself is in ``provider_world``)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from broker_process import Process
from provider_world import World

sys.path.append(str(Path(__file__).parent.parent / "vault"))  # mutants


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.broker.close()


@pytest.fixture
def make_world(tmp_path):
    made = []

    def make(**options):
        made.append(World(tmp_path / f"world-{len(made)}", **options))
        return made[-1]

    yield make
    for one in made:
        one.broker.close()


@pytest.fixture
def vault(world):
    return world.vault()


@pytest.fixture
def served(make_world):
    """Make worlds whose broker is a process."""
    made = []

    def serve(*options, **terms):
        world = make_world(not_before="2020-01-01T00:00:00Z", not_after="2099-01-01T00:00:00Z", **terms)
        world.broker.close()
        made.append(Process(world, *options))
        return world

    yield serve
    for process in made:
        if process.process.poll() is None:
            process.close()
        process.client.close()
