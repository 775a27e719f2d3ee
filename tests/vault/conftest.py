"""Worlds for vault tests. Brokers of ``world`` are processes, so they are started once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from vault_world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory):
    """Providers, running brokers and capsules, shared by the session; every test signs its own contract."""
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture(scope="session")
def quiet_world(tmp_path_factory: pytest.TempPathFactory):
    """The same without processes: vault and brokers run in the test's own process."""
    return World(tmp_path_factory.mktemp("quiet"), serve=False)


@pytest.fixture(scope="module")
def audited_world(tmp_path_factory: pytest.TempPathFactory):
    """A quiet world for tests that export its log: other tests overbook accounts, and such an export is not sound."""
    return World(tmp_path_factory.mktemp("audited"), serve=False)


@pytest.fixture
def own_world(tmp_path: Path):
    """A quiet world that a test may break."""
    return World(tmp_path, serve=False)
