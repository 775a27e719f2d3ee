"""The proof uses the worlds and generators of the vault's own tests, and the handles of the sandbox's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "sandbox"))
sys.path.insert(0, str(Path(__file__).parents[1] / "vault"))

from vault_world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory):
    """Providers with running brokers, shared by the session."""
    world = World(tmp_path_factory.mktemp("proof"))
    yield world
    world.close()


@pytest.fixture(scope="session")
def quiet_world(tmp_path_factory: pytest.TempPathFactory):
    """The same without processes."""
    return World(tmp_path_factory.mktemp("proof-quiet"), serve=False)


@pytest.fixture
def own_world(tmp_path: Path):
    """A quiet world that a test may break."""
    return World(tmp_path, serve=False)
