from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.sandbox import session as sessions


@pytest.fixture
def vault() -> Iterator[world.Vault]:
    """A confidential session with noise; ``cl.table`` and friends speak to it."""
    session, vault = world.session(noise=True, mode="confidential")
    sessions.use(session)
    yield vault
    sessions.use(None)


@pytest.fixture
def visits(vault: world.Vault) -> cl.Frame:
    return cl.table("clinic.visits")


@pytest.fixture
def mock_visits() -> Iterator[cl.Frame]:
    session, _ = world.session(noise=True, mode="mock")
    sessions.use(session)
    yield cl.table("clinic.visits")
    sessions.use(None)


@pytest.fixture(scope="session")
def quiet() -> cl.Frame:
    """The table with the noise off: results must equal pandas."""
    session, _ = world.session(noise=False, epsilon="1000")
    return cl.Frame.of_table(session, "clinic.visits")


@pytest.fixture(scope="session", autouse=True)
def _engines_end() -> Iterator[None]:
    yield
    # DuckDB complains of connections that outlive the interpreter.
    world.loaded.cache_clear()


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Said when the collector finds a socket that a test of another room left open, in whatever runs just then.
        warnings.simplefilter("ignore", ResourceWarning)
        yield
