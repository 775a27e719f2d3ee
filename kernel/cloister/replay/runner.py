"""Running a notebook's cells in a replay kernel, with bounds on time and output: the notebook is somebody else's.

Only the sources of the code cells reach the kernel; what the file shows is compared later. A cell that takes
too long or prints too much ends the run: the cells after it count as not run.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from cloister.analyst.own_replies import INFO_KEY
from cloister.analyst.uplink import State
from cloister.errors import TrustError, UnavailableError, from_dict
from cloister.replay import figures, perturb, session, source
from cloister.reviewer.notebook import code_cells

KERNEL = "cloister-replay"
MAX_OUTPUT = 32 * 2**20
_POLL_S = 0.05
_START_S = 60.0

Progress = Callable[[int, int, str], None]


class Ran(NamedTuple):
    """What one cell showed in a run; ``stopped`` says why the run ended in it (or before it), if it did."""

    outputs: tuple[dict[str, Any], ...]
    stopped: str = ""


class _TooMuchError(Exception):
    """The outputs of a run exceed the limit."""


class _Client(NotebookClient):
    """Counts what a kernel sends, and says stop before memory is full."""

    received = 0

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        self.received += len(json.dumps(msg["content"], default=str))
        if self.received > MAX_OUTPUT:
            raise _TooMuchError
        return super().process_message(msg, cell, cell_index)


async def run(
    path: Path, notebook: dict[str, Any], *, perturbed: bool, timeout_s: float, progress: Progress
) -> list[Ran]:
    """Run the code cells of a notebook and return what each showed, in order.

    Args:
        path: The file whose receipts answer (absolute).
        notebook: Its content.
        perturbed: Move every released value.
        timeout_s: How long one cell may take.
        progress: Told how many cells are done, of how many, and the next one's first line.

    Raises:
        CloisterError: The kernel refuses (its own error), or does not start.
    """
    client: Any = _Client(
        _bare(notebook), kernel_name=KERNEL, timeout=timeout_s, allow_errors=True, record_timing=False,
        coalesce_streams=True, shutdown_kernel="immediate", store_widget_state=False,
        iopub_timeout=timeout_s, raise_on_iopub_timeout=True,
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    client.log.disabled = True
    chosen = {source.CHOSEN: str(path), perturb.CHOSEN: "1" if perturbed else "0", session.NO_FILES: "1"}
    environment = {**os.environ, **chosen}
    async with client.async_setup_kernel(env=environment, stderr=subprocess.DEVNULL):
        await _ready(client)
        client.kc.execute(figures.HOOK, silent=True, store_history=False)
        return await _cells(client, progress)


async def _cells(client: Any, progress: Progress) -> list[Ran]:
    cells, found, stopped = client.nb.cells, [], ""
    for index, cell in enumerate(cells):
        progress(index, len(cells), str(cell.source).strip().partition("\n")[0])
        if not stopped:
            try:
                await client.async_execute_cell(cell, index)
            except CellTimeoutError:
                stopped = f"the cell did not end within {client.timeout:g} s"
            except _TooMuchError:
                stopped = f"the notebook shows more than {MAX_OUTPUT >> 20} MiB"
            except DeadKernelError:
                stopped = "the sandbox ended"
            except RuntimeError:
                # What nbclient raises when a cell has ended and its outputs have not arrived.
                stopped = f"its outputs did not arrive within {client.timeout:g} s"
        found.append(Ran(() if stopped else tuple(json.loads(json.dumps(cell.outputs))), stopped))
    progress(len(cells), len(cells), "done")
    return found


async def _ready(client: Any) -> None:
    """Wait until the replay kernel has verified its notebook and started the sandbox."""
    deadline = asyncio.get_running_loop().time() + _START_S
    while asyncio.get_running_loop().time() < deadline:
        reply = await client.kc.kernel_info(reply=True, timeout=_START_S)
        info = reply["content"].get(INFO_KEY) or {}
        if info.get("mode") != "replay":
            raise TrustError("replay.kernel", f"the kernelspec {KERNEL} is no replay kernel", next_step="install anew")
        if info["state"] != State.DIALLING.value:
            break
        await asyncio.sleep(_POLL_S)
    if info["error"]:
        raise from_dict(info["error"])
    if info["state"] != State.OPEN.value:
        raise UnavailableError("replay.kernel", "the replay kernel did not start in time")


def _bare(notebook: dict[str, Any]) -> Any:
    """Return a notebook of the code cells' sources: no tag of its author decides what is replayed."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.source) for cell in code_cells(notebook)])


def start(path: Path, notebook: dict[str, Any], *, timeout_s: float, progress: Progress) -> tuple[list[Ran], list[Ran]]:
    """Return both runs: with the receipts, and with their values moved."""

    def told(first: int) -> Progress:
        return lambda done, total, what: progress(first * total + done, 2 * total, what)

    async def both() -> tuple[list[Ran], list[Ran]]:
        honest = await run(path, notebook, perturbed=False, timeout_s=timeout_s, progress=told(0))
        if any(one.stopped for one in honest):
            return honest, [Ran((), one.stopped) for one in honest]
        return honest, await run(path, notebook, perturbed=True, timeout_s=timeout_s, progress=told(1))

    try:
        return asyncio.run(both())
    except NoSuchKernel as error:
        raise UnavailableError(
            "replay.kernelspec",
            f"the kernelspec {KERNEL} is not installed here",
            next_step="install Cloister anew: pip install --force-reinstall --no-deps cloister; then cloister doctor",
        ) from error
    except RuntimeError as error:
        raise UnavailableError("replay.kernel", f"the replay kernel did not answer: {error}") from error
