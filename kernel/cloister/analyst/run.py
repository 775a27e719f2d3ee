"""Run a notebook headless through a Cloister kernel, with the same gate as in the Lab.

Before the first cell of a confidential run comes the price of the last mock run. Cells run one by one; what they
release is collected from the proxy's release chips. A simulated enclave is refused before the first cell runs, unless
it is allowed explicitly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from cloister.analyst import page
from cloister.analyst.bundling import chips
from cloister.analyst.estimate import in_words
from cloister.analyst.own_replies import INFO_KEY
from cloister.analyst.uplink import State
from cloister.errors import CloisterError, MalformedError, TrustError, from_dict
from cloister.receipt.bundle import BUNDLE_KEY, METADATA_KEY

_POLL_S = 0.1
_PATIENCE = 1200
_ESTIMATE_S = 10.0
Progress = Callable[[int, int, str], None]
Announce = Callable[[str], None]


def run_notebook(
    source: Path,
    *,
    kernel: str,
    allow_simulated: bool,
    progress: Progress,
    announce: Announce,
    timeout_s: float = 600,
) -> tuple[Any, dict[str, Any]]:
    """Execute ``source`` and return the executed notebook and the kernel's block about its enclave.

    Raises:
        MalformedError: ``source`` is not a notebook.
        TrustError: The enclave is refused, or simulated without ``allow_simulated``.
        CloisterError: ``run.cell``: a cell failed that is not tagged ``raises-exception``.
    """
    try:
        notebook = nbformat.read(source, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise MalformedError(
            "run.notebook", f"{source} is not a readable notebook", next_step="check the path"
        ) from error
    _forget_results(notebook)
    client = NotebookClient(
        notebook, kernel_name=kernel, timeout=timeout_s, resources={"metadata": {"path": str(source.parent)}}
    )
    info = asyncio.run(_run(client, allow_simulated, progress, announce))
    notebook.metadata["kernelspec"] = _kernelspec(kernel)
    return notebook, info


def _forget_results(notebook: Any) -> None:
    """Drop what the file brought along: a run skips empty and tagged cells and would leave their outputs as its own."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    place = notebook.metadata.get(METADATA_KEY)
    if isinstance(place, dict):
        place.pop(BUNDLE_KEY, None)


def release_lines(notebook: dict[str, Any]) -> Iterator[str]:
    """Yield one line per value a notebook shows as released: what, value, standard error, cost."""
    for item in chips(notebook):
        cost = (
            "recalled, no charge"
            if item["recalled"]
            else "; ".join(
                f"cost {cost['share']} of {cost['population']} (epsilon {cost['epsilon']})" for cost in item["costs"]
            )
        )
        yield f"{item['question']}   [{cost}]"
        if "unsaved" in item:
            # What a program prints ends in a log, which is a file.
            yield "    not printed, for the contract's tier rules keep it out of files"
            continue
        for row in item["rows"]:
            label = ", ".join(row["cell"])
            for measure, value, error, doubt in zip(
                item["measures"], row["values"], row["errors"], row["unreliable"], strict=True
            ):
                warning = "  (unreliable: too few rows)" if doubt else ""
                yield f"    {label + ': ' if label else ''}{measure} = {value} +- {error}{warning}"


async def _run(client: NotebookClient, allow_simulated: bool, progress: Progress, announce: Announce) -> dict[str, Any]:
    async with client.async_setup_kernel():
        info = await _enclave(client)
        if info.get("mode") == "confidential" and info.get("assurance") == "simulated" and not allow_simulated:
            raise TrustError(
                "run.simulated", "the enclave is simulated: it protects nothing from the owner of this machine",
                clause="run exits non-zero on simulated", next_step="add --allow-simulated if that is what you want",
            )  # fmt: skip
        cells = [(i, cell) for i, cell in enumerate(client.nb.cells) if cell.cell_type == "code"]
        if info.get("mode") == "confidential":
            for line in await _estimate(client, [str(cell.source) for _, cell in cells]):
                announce(line)
        for done, (index, cell) in enumerate(cells):
            progress(done, len(cells), str(cell.source).strip().partition("\n")[0])
            try:
                await client.async_execute_cell(cell, index)
            except CellExecutionError as error:
                raise CloisterError(
                    "run.cell", f"cell {index} failed: {error.ename}: {error.evalue}",
                    next_step="tag it raises-exception if that is intended",
                ) from error  # fmt: skip
            except DeadKernelError as error:
                raise TrustError("run.kernel", "the kernel died", next_step="see `cloister status`") from error
        progress(len(cells), len(cells), "done")
        # The last word about the enclave: the verdict may have changed while the cells ran.
        return await _enclave(client)


async def _estimate(client: NotebookClient, sources: list[str]) -> list[str]:
    """Ask the proxy, as the Lab does, what these cells would cost; a notebook runs without an answer too."""
    connection: Any = client.kc
    ask: page.EstimateAsk = {"type": "estimate", "id": "run", "cells": sources}
    comm = {"comm_id": "cloister-run", "target_name": page.TARGET}
    for kind, content in (("comm_open", {**comm, "data": {}}), ("comm_msg", {**comm, "data": ask})):
        connection.shell_channel.send(connection.session.msg(kind, content))
    try:
        async with asyncio.timeout(_ESTIMATE_S):
            while (answer := await _next_message(connection, comm["comm_id"]))["type"] not in ("estimate", "error"):
                pass
    except TimeoutError:
        return ["estimate: unknown, the kernel did not answer"]
    finally:
        connection.shell_channel.send(connection.session.msg("comm_close", {**comm, "data": {}}))
    return in_words(answer) if answer["type"] == "estimate" else [f"estimate: unknown, {answer['reason']}"]


async def _next_message(connection: Any, comm_id: str) -> Any:
    while True:
        message = await connection.get_iopub_msg(timeout=None)
        if message["msg_type"] == "comm_msg" and message["content"].get("comm_id") == comm_id:
            return message["content"]["data"]


async def _enclave(client: NotebookClient) -> dict[str, Any]:
    """Return the kernel's block about its enclave once there is a verdict."""
    connection: Any = client.kc
    for _ in range(_PATIENCE):
        reply = await connection.kernel_info(reply=True, timeout=60)
        info: dict[str, Any] = reply["content"].get(INFO_KEY) or {}
        if not info:
            raise TrustError(
                "run.kernel", "this is not a Cloister kernel", next_step="pick one of `jupyter kernelspec list`"
            )
        if info["state"] != State.DIALLING.value:
            break
        await asyncio.sleep(_POLL_S)
    if info["error"]:
        raise from_dict(info["error"])
    return info


def _kernelspec(kernel: str) -> dict[str, str]:
    return {"name": kernel, "display_name": kernel, "language": "python"}
