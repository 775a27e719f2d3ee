"""One world for all vault tests: its brokers are processes, so they are started once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from vault_world import World  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory):
    """Providers, brokers and capsules shared by the session; every test signs its own contract."""
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()
