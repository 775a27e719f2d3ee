"""A replay kernel as a reviewer has it in Jupyter: the same outputs, from receipts, in a jail, and it says so."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Client, kernel

from cloister.errors import CloisterError
from cloister.replay import session
from cloister.replay.session import ReplaySession
from cloister.reviewer.notebook import RELEASE_MIME


def shown(client: Client, code: str) -> list[dict[str, Any]]:
    return client.run(code).of("display_data")


def sources(path: Path) -> dict[str, str]:
    return {cell["id"]: "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]}


def chip_of(path: Path, cell: str) -> dict[str, Any]:
    cells = {found["id"]: found for found in json.loads(path.read_text())["cells"]}
    (chip,) = [output for output in cells[cell]["outputs"] if RELEASE_MIME in output.get("data", {})]
    data = {name: "".join(value) if isinstance(value, list) else value for name, value in chip["data"].items()}
    return {"data": data, "metadata": chip["metadata"]}


@pytest.fixture(scope="module")
def replayed(tour: Path):
    with kernel("cloister-replay", env={"CLOISTER_REPLAY": str(tour)}) as client:
        client.run(sources(tour)["import"])
        client.run(sources(tour)["columns"])
        yield client


def test_its_status_says_what_it_is_and_never_genuine(replayed: Client) -> None:
    comm = {"comm_id": "c1", "target_name": "cloister.status", "data": {}}
    messages = [message["data"] for message in replayed.comm("comm_open", comm).of("comm_msg")]
    status = next(message for message in messages if message["type"] == "status")
    assert (status["mode"], status["state"], status["tone"]) == ("replay", "open", "grey")
    assert status["word"] == "Replay: from receipts, no enclave"
    assert status["assurance"] == "simulated"
    assert {item["state"] for item in status["checklist"][:-1]} == {"unknown"}
    contract = next(message for message in messages if message["type"] == "contract")
    assert len(contract["tables"]) == 4
    line, *_ = shown(replayed, "%cloister status")
    assert "no enclave runs, no data are read, nothing is charged" in line["data"]["text/plain"]
    everything = json.dumps([messages, line])
    assert "Genuine" not in everything
    assert '"green"' not in everything


def test_chips_are_those_of_the_notebook_byte_for_byte(replayed: Client, tour: Path) -> None:
    for cell in ("mean", "again"):
        (chip,) = shown(replayed, sources(tour)[cell])
        saved = chip_of(tour, cell)
        assert chip["data"] == saved["data"]
        assert chip["metadata"] == saved["metadata"]


def test_verify_lines_claim_no_attestation(replayed: Client) -> None:
    (line,) = shown(replayed, "%cloister verify")
    text = line["data"]["text/plain"]
    assert "none runs here" in text
    assert "this machine attested" not in text
    assert "genuine" not in text


def test_a_replay_run_by_a_command_writes_no_file(tour: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken.txt"
    for name in ("CLOISTER_REPLAY_NO_FILES", "CLOISTER_REPLAY_PERTURB"):
        with kernel("cloister-replay", env={"CLOISTER_REPLAY": str(tour), name: "1"}) as client:
            client.run("open('taken.txt', 'w').write('x')")
            cell = client.run(f"%cloister get taken.txt {target.name}")
            assert "replay.files" in cell.content.get("evalue", ""), name
    assert not list(Path.cwd().glob("taken.txt"))


def test_a_perturbed_kernel_shows_no_receipt_and_says_so_in_every_cell(tour: Path) -> None:
    env = {"CLOISTER_REPLAY": str(tour), "CLOISTER_REPLAY_PERTURB": "1"}
    with kernel("cloister-replay", env=env) as client:
        client.run(sources(tour)["import"])
        client.run(sources(tour)["columns"])
        cell = client.run(sources(tour)["mean"])
        texts = json.dumps([message["content"] for message in cell.outputs])
        assert "PERTURBED" in texts
        assert RELEASE_MIME not in texts
        assert '"cloister":' not in texts
        line, *_ = shown(client, "%cloister status")
        assert "perturbed values, nothing here was released" in line["data"]["text/plain"]


def test_a_new_question_is_refused_and_the_kernel_goes_on(replayed: Client) -> None:
    cell = replayed.run("visits.count(epsilon=0.123)")
    assert cell.content["ename"] == "RefusedError"
    assert "replay.unknown" in cell.content["evalue"]
    assert "at epsilon 0.123" in cell.content["evalue"]
    assert replayed.run("print(1 + 1)").text() == "2\n"


def test_two_replays_of_one_notebook_beside_each_other(replayed: Client, tour: Path) -> None:
    with kernel("cloister-replay", env={"CLOISTER_REPLAY": str(tour)}) as other:
        other.run(sources(tour)["import"])
        other.run(sources(tour)["columns"])
        (chip,) = shown(other, sources(tour)["mean"])
        assert chip["data"] == chip_of(tour, "mean")["data"]
        other.run("mine = 1")
        assert replayed.run("mine").content["ename"] == "NameError"


def test_a_tampered_bundle_answers_nothing_and_says_which_line(tour: Path, tmp_path: Path) -> None:
    notebook = json.loads(tour.read_text())
    receipt = notebook["metadata"]["cloister"]["bundle"]["receipts"][0]
    receipt["signatures"][0]["sig"] = "A" * len(receipt["signatures"][0]["sig"])
    path = tmp_path / "forged.ipynb"
    path.write_text(json.dumps(notebook))
    with kernel("cloister-replay", env={"CLOISTER_REPLAY": str(path)}) as client:
        cell = client.run("1 + 1")
        assert "replay.bundle" in cell.content["evalue"]
        assert "step 7" in cell.content["evalue"]


def test_no_sandbox_no_replay_unless_the_machine_is_disposable(tour: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = session.EnclaveSession.start
    monkeypatch.setattr(session.EnclaveSession, "start", lambda self, folder, plain: start(self, folder, plain=True))
    open_session = functools.partial(ReplaySession.open, folder=tour.parent)

    async def unconfined() -> session.ReplayVerdict:
        opened = await open_session({"CLOISTER_REPLAY": str(tour), "CLOISTER_REPLAY_UNCONFINED": "1"})
        await opened.close()
        return opened.verdict

    with pytest.raises(CloisterError) as refused:
        asyncio.run(open_session({"CLOISTER_REPLAY": str(tour)}))
    assert refused.value.code == "replay.sandbox"
    assert "CLOISTER_REPLAY_UNCONFINED=1" in refused.value.next_step
    verdict = asyncio.run(unconfined())
    assert (verdict.word, verdict.tone) == ("Replay without a sandbox", "red")


def test_other_systems_are_refused_in_words(tour: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LINUX", False)
    with pytest.raises(CloisterError) as refused:
        asyncio.run(ReplaySession.open({"CLOISTER_REPLAY": str(tour)}))
    assert refused.value.code == "replay.sandbox"


def test_it_needs_the_base_installation_only() -> None:
    without = [
        "duckdb",
        "opendp",
        "pyarrow",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "httpx",
        "structlog",
        "statsmodels",
        "websockets",
    ]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({without!r}))\n"
        "import cloister.replay.__main__, cloister.replay.session, cloister.replay.command\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_stays_behind(tour: Path) -> None:
    with kernel("cloister-replay", env={"CLOISTER_REPLAY": str(tour)}) as client:
        work = client.run("import os; print(os.getcwd())").text().strip()
    assert not Path(work).exists()
    assert not [entry for entry in os.scandir("/proc") if entry.name.isdigit() and _works_in(entry.name, work)]


def _works_in(pid: str, folder: str) -> bool:
    try:
        return folder in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
