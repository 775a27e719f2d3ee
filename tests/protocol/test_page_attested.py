"""The page against a real enclave: rehearsed on the mock kernel, promoted, released, checked, verified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Client, kernel

from conftest import write_spec

ASKED = "import cloister as cl\nv = cl.table('st_anna.visits')\nv.count()"


@pytest.fixture
def mock(attested: str, kernelspecs: Path) -> str:
    """The mock twin of the attested kernel."""
    spec = json.loads((kernelspecs / "kernels" / attested / "kernel.json").read_text())
    argv = [*spec["argv"][:-1], "mock"]
    name = f"{attested}-mock"
    if not (kernelspecs / "kernels" / name).exists():
        write_spec(kernelspecs, name, argv, spec["env"])
    return name


class Page:
    """A page with one comm on a blocking client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        client.send("shell", "comm_open", {"comm_id": "page", "target_name": "cloister.status", "data": {}})

    def until(self, wanted: str, **fields: Any) -> Any:
        while True:
            message = self.client.wait_output("comm_msg")["content"]
            data = message["data"]
            if message["comm_id"] == "page" and data["type"] == wanted and fields.items() <= data.items():
                return data

    def ask(self, **data: Any) -> Any:
        self.client.send("shell", "comm_msg", {"comm_id": "page", "data": {"id": "1", **data}})
        answers = {"estimate": "estimate", "check": "checked", "verify": "verified", "bundle": "bundled"}
        return self.until(answers[data["type"]], id="1")


def test_from_rehearsal_to_verification(attested: str, mock: str, tmp_path: Path) -> None:
    with kernel(mock) as client:
        page = Page(client)
        assert page.until("status", state="open")["promote"] == "cloister"
        assert client.run(ASKED).content["status"] == "ok"
        rehearsed = page.ask(type="estimate", cells=[ASKED, "1"])
        assert [cell["known"] for cell in rehearsed["cells"]] == [True, False]
    with kernel(attested) as client:
        page = Page(client)
        status = page.until("status", state="open")
        assert (status["tone"], status["promote"]) == ("amber", "")
        tables = page.until("contract")["tables"]
        assert any(table["name"] == "st_anna.visits" for table in tables)
        estimate = page.ask(type="estimate", cells=[ASKED, "1"])
        assert estimate == {**rehearsed, "id": "1"}
        cell = client.run(ASKED)
        (chip,) = cell.of("display_data")
        found = {"key": "a", "data": chip["data"], "metadata": chip["metadata"]}
        assert page.ask(type="check", chips=[found])["chips"][0]["state"] == "verified"
        # What was estimated is what it cost.
        (release,) = chip["metadata"]["cloister"]["releases"]
        assert estimate["cells"][0]["costs"] == estimate["total"] == release["costs"]
        notebook = _notebook(chip)
        report = page.ask(type="verify", notebook=notebook)
        assert (report["exit_code"], report["report"]["counts"]["shown"]) == (1, 1)
        assert set(report["report"]["reservations"]) == {"simulated", "origin unknown"}
        notebook["metadata"]["cloister"] = {"bundle": page.ask(type="bundle", notebook=notebook)["bundle"]}
        assert page.ask(type="verify", notebook=notebook)["report"]["counts"]["receipts"] == 1
    _run_says_the_price_first(attested, notebook, tmp_path, client.manager.kernel_spec.env)


def _notebook(chip: dict[str, Any]) -> dict[str, Any]:
    output = {"output_type": "display_data", "data": chip["data"], "metadata": chip["metadata"]}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": ASKED, "outputs": [output]}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}


def _run_says_the_price_first(name: str, notebook: dict[str, Any], tmp_path: Path, env: dict[str, str]) -> None:
    source = tmp_path / "notebook.ipynb"
    source.write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "cloister.cli", "run", str(source), "--kernel", name, "--allow-simulated"]
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "estimate from the last mock run: 1 releases, 2 % of" in done.stderr
