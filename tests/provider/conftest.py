"""Fixtures of the broker's tests (the world itself is in ``provider_world``)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
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
