"""What notebook code may try against the vault, the agent and the user's machine, and that it is refused.

Every cell runs twice through a real Jupyter client: in a jailed kernel, where its denial is asserted, and in a
plain kernel of the same user, where it must succeed; otherwise the first result would prove nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hostile_cells
import jailed
import pytest

from cloister.errors import MalformedError
from cloister.wire.frames import Decoder

# how a kernel built without a feature says so; only accepted for cells marked ``kernel`` and only in the control
_NOT_BUILT = {"ENOSYS", "EAFNOSUPPORT", "EPERM", "EACCES", "EPROTONOSUPPORT", "ENOTSUP", "EINVAL", "ENODEV"}
_REACHES_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def around() -> Iterator[dict[str, Any]]:
    with jailed.surroundings() as facts:
        yield facts


@pytest.fixture(scope="module")
def jailed_kernel(around: dict[str, Any]) -> Iterator[jailed.Kernel]:
    with jailed.jail("--uid", "shared") as kernel:
        started = kernel.run(hostile_cells.prelude(around, jailed=True))
        assert started["status"] == "ok", started["error"]
        yield kernel


@pytest.fixture(scope="module")
def plain_kernel(around: dict[str, Any]) -> Iterator[jailed.Kernel]:
    with jailed.plain() as kernel:
        started = kernel.run(hostile_cells.prelude(around, jailed=False))
        assert started["status"] == "ok", started["error"]
        yield kernel


def _outcome(kernel: jailed.Kernel, cell: hostile_cells.Cell) -> str:
    got = kernel.run(cell.code)
    assert got["status"] == "ok", got["error"]
    return got["stdout"].rpartition("outcome=")[2].strip()


@pytest.mark.parametrize("cell", hostile_cells.CELLS, ids=lambda cell: cell.name)
def test_jail_refuses(jailed_kernel: jailed.Kernel, cell: hostile_cells.Cell) -> None:
    assert _outcome(jailed_kernel, cell) == cell.denied
    assert jailed_kernel.alive


@pytest.mark.parametrize(
    "cell", [c for c in hostile_cells.CELLS if _REACHES_ROOT or not c.root], ids=lambda cell: cell.name
)
def test_the_same_cell_succeeds_without_a_jail(plain_kernel: jailed.Kernel, cell: hostile_cells.Cell) -> None:
    outcome = _outcome(plain_kernel, cell)
    assert outcome == "won" or (cell.kernel and outcome in _NOT_BUILT)


def test_garbage_on_the_link_reaches_the_agent_as_malformed_and_the_kernel_goes_on(
    jailed_kernel: jailed.Kernel,
) -> None:
    got = jailed_kernel.run("import os; os.write(int(os.environ['CLOISTER_LINK_FD']), b'\\xff' * 64)")
    assert got["status"] == "ok"
    assert jailed_kernel.link is not None
    with pytest.raises(MalformedError):
        list(Decoder(1 << 20).feed(jailed_kernel.link.recv(4096)))
    assert jailed_kernel.alive


def test_there_are_enough_cells() -> None:
    names = [cell.name for cell in hostile_cells.CELLS]
    assert len(names) == len(set(names)) >= 40
