"""Unique values in every column of every table, and where they turn up: nowhere.

The demo world is built from tables with canaries in them; then the tour, questions that go wrong and every hostile cell
run through the real chain (proxy, channel, agent, bridge, sandbox, vault, broker), with a recorder on each wire.
Searched are: every message a client received, the executed and bundled notebook, both wires, receipts, accounts,
logs and all other files of the user's state folder, error texts of the commands, and the sandbox's memory.

What shows that the search would find something: a marker printed by a cell is found wherever outputs go and not on
the encrypted wire, the canaries are found in the vault's memory, and a planted file is found.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_cells
import jailed
import pandas as pd
import psutil
import pytest
from canaries import Canaries, Finding, Value, certain
from jupyter_client.manager import KernelManager

from cloister.demo import cards as demo_cards
from cloister.demo import generators
from cloister.demo.parties import build_world

TOUR = Path(__file__).parents[2] / "notebooks" / "01-tour.ipynb"
MARKER = Canaries({"marker": "marker-qwpzvkjxtrml"})

SMALL = {
    "st_anna.visits": lambda: generators.visits(patients=2_000),
    "city_bank.customers": lambda: generators.customers(rows=5_000),
}

# Questions that are answered, refused, or go wrong, on every table; each may fail, none may tell.
QUESTIONS = """
%cloister status
import cloister as cl, traceback
cl.contract()
cl.tables()
cl.budget()
visits = cl.table("st_anna.visits"); visits
visits.dtypes
visits.mock(3)
visits.bmi.mean()
visits.query("age >= 18").groupby("region").cost.agg(["count", "mean"])
visits.groupby("sex").size()
visits.cost.sum()
visits.region.value_counts()
cl.table("city_bank.customers").income.mean()
cl.table("survey.fair").affairs.mean()
cl.table("st_anna.diabetes").bmi.mean()
visits.head()
visits.patient_id.unique()
visits.patient_id.value_counts()
visits.groupby("patient_id").cost.mean()
visits.cost.max()
visits.values
visits.to_numpy()
visits.to_csv("out.csv")
visits.iloc[0]
list(visits)
[row for row in visits.cost]
float(visits.cost)
str(visits.cost), repr(visits.cost), visits.cost.__dict__
visits.query("cost > 1999").cost.count()
visits.query("no_such_column > 3").cost.mean()
visits.query("__import__('os')")
visits.apply(print)
visits.cost.map(lambda v: v)
visits.merge(visits)
import pickle; pickle.dumps(visits)
import copy; copy.deepcopy(visits.cost)
vars(cl), dir(cl)
import ipywidgets; ipywidgets.Image(value=repr(vars(visits)).encode() + bytes(200_000))
import gc; [o for o in gc.get_objects() if type(o).__module__.startswith("cloister")][:200]
cl.table("st_anna.visits").cost.mean(epsilon=1000)
%tb
%cloister verify
"""


@pytest.fixture(scope="module")
def planted() -> tuple[Canaries, dict[str, Any]]:
    """Return canaries by ``table.column``, and generators of the demo tables with them inside."""
    rng = random.Random(20261121)
    values: dict[str, Value] = {}
    tables: dict[str, Any] = {}
    for card in demo_cards.CARDS:
        frame = SMALL.get(card.name, generators.TABLES[card.name])()
        for column in card.columns:
            if column.type == "bool":
                continue  # two values: nothing unique can be said
            value = _canary(rng, column.type)
            values[f"{card.name}.{column.name}"] = value
            series = frame[column.name]
            place = rng.randrange(len(frame))
            if pd.api.types.is_integer_dtype(series):
                frame[column.name] = series.astype("int64")
            elif isinstance(value, dt.date):
                value = pd.Timestamp(value)
            frame.loc[frame.index[place], column.name] = value
        tables[card.name] = lambda frame=frame: frame
    return Canaries(values), tables


def _canary(rng: random.Random, kind: str) -> Value:
    if kind == "int":
        return rng.randrange(1 << 29, 1 << 31) | 0x01010101
    if kind == "decimal":
        return rng.uniform(1000, 9999)
    if kind == "date":
        return dt.date(rng.randrange(2100, 2260), rng.randrange(1, 13), rng.randrange(1, 29))
    return "canary-" + "".join(rng.choice("bcdfghjkmnpqrstvwxz") for _ in range(14))


class Chain:
    """The running chain and everything that came out of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "CLOISTER_HOME": str(home), "CLOISTER_DEMO_IDLE_S": "30"}
        self.came_out: dict[str, bytes] = {}
        self.outcomes: dict[str, str] = {}
        self.memory: dict[str, list[str]] = {}

    def command(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[bytes]:
        program = [sys.executable, "-c", "from cloister.cli import main; main()", *arguments]
        done = subprocess.run(program, env=self.env, capture_output=True, timeout=timeout, check=False)
        self.came_out[f"command {' '.join(arguments)}"] = done.stdout + done.stderr
        return done

    def process(self, part: str) -> psutil.Process:
        supervisor = psutil.Process(json.loads((self.home / "demo" / "pair.json").read_text())["pid"])
        return next(p for p in supervisor.children(recursive=True) if part in " ".join(p.cmdline()))


@pytest.fixture(scope="module")
def chain(planted: tuple[Canaries, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    canaries, tables = planted
    chain = Chain(tmp_path_factory.mktemp("canaries"))
    build_world(chain.home, tables=tables)
    recorder = Path(__file__).with_name("recorded_pair.py")
    with (chain.home / "pair.log").open("wb") as log:
        command = [sys.executable, str(recorder), str(chain.home)]
        supervisor = subprocess.Popen(command, env=chain.env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (chain.home / "demo" / "pair.json").exists():
            assert supervisor.poll() is None and time.monotonic() < deadline, (chain.home / "pair.log").read_text()
            time.sleep(0.05)
        _tour(chain)
        _questions_and_attacks(chain, canaries)
        yield chain
    finally:
        supervisor.terminate()
        supervisor.wait(20)


def _tour(chain: Chain) -> None:
    source, target = chain.home / "01-tour.ipynb", chain.home / "tour.ipynb"
    notebook = json.loads(TOUR.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        # that the tour runs is tested elsewhere; here a failure is one more thing that might tell
        cell["metadata"]["tags"] = ["raises-exception"]
    source.write_text(json.dumps(notebook))
    done = chain.command("run", str(source), "--output", str(target), "--allow-simulated")
    assert done.returncode == 0, done.stderr.decode()
    chain.command("verify", str(target), "--json", "--allow-simulated")
    chain.command("run", str(chain.home / "no-such.ipynb"))


def _questions_and_attacks(chain: Chain, canaries: Canaries) -> None:
    manager = KernelManager(kernel_name="cloister")
    manager.start_kernel(env=chain.env)
    client = manager.blocking_client()
    messages: list[dict[str, Any]] = []

    def run(code: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        seen.append(client.execute_interactive(code, timeout=120, output_hook=seen.append, allow_stdin=False))
        messages.extend(seen)
        return seen

    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        for question in QUESTIONS.strip().splitlines():
            run(question)
        run(f"print({MARKER.values['marker']!r})")
        vault, sandbox = chain.process("cloister.vault"), chain.process("cloister.enclave.jail")
        with jailed.surroundings() as facts:
            run(hostile_cells.prelude({**facts, "VICTIM": vault.pid}, jailed=True))
            for cell in hostile_cells.CELLS:
                text = "".join(m["content"].get("text", "") for m in run(cell.code) if m["msg_type"] == "stream")
                chain.outcomes[cell.name] = text.rpartition("outcome=")[2].strip()
            for path in sorted(chain.home.rglob("*")):
                if path.is_file() and not {"wire", "receipts"} & set(path.parts):
                    run(f"print('{path.name} outcome=' + outcome(lambda: open({str(path)!r}, 'rb').read(1)))")
        run("visits.bmi.mean()")
        for name, process in (("vault", vault), ("sandbox", sandbox)):
            chain.memory[name] = _in_memory(process.pid, canaries)
        for index, message in enumerate(messages):
            buffers = b"".join(bytes(buffer) for buffer in message.pop("buffers", []))
            chain.came_out[f"message {index} {message['msg_type']}"] = (
                json.dumps(message, default=str).encode() + buffers
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def _in_memory(pid: int, canaries: Canaries) -> list[str]:
    """Return the text and integer canaries found in a process's memory (empty if it may not be read)."""
    chosen = Canaries({name: value for name, value in canaries.values.items() if isinstance(value, str | int)})
    with contextlib.suppress(PermissionError):
        return sorted({finding.canary for finding in certain(chosen.scan_memory(pid))})
    return []


def leaks(findings: list[Finding]) -> list[Finding]:
    return certain(findings)


def test_nothing_that_came_out_holds_a_canary(chain: Chain, planted: tuple[Canaries, dict[str, Any]]) -> None:
    canaries, _ = planted
    assert len(chain.came_out) > 300
    for label, blob in chain.came_out.items():
        assert leaks(canaries.scan(blob, label)) == []


def test_no_file_of_the_user_holds_a_canary(chain: Chain, planted: tuple[Canaries, dict[str, Any]]) -> None:
    canaries, _ = planted
    names = {path.relative_to(chain.home).parts[0] for path in chain.home.rglob("*") if path.is_file()}
    assert {"demo", "wire", "receipts", "enclave", "trust", "tour.ipynb", "pair.log"} <= names
    assert leaks(canaries.scan_files(chain.home)) == []


def test_the_search_would_have_found_them(
    chain: Chain, planted: tuple[Canaries, dict[str, Any]], tmp_path: Path
) -> None:
    canaries, tables = planted
    assert any(MARKER.scan(blob, label) for label, blob in chain.came_out.items())
    for name, table in tables.items():
        table().to_csv(tmp_path / f"{name}.csv")
    assert {finding.canary for finding in canaries.scan_files(tmp_path)} == set(canaries.values)
    for name, table in tables.items():
        (tmp_path / f"{name}.csv").unlink()
        table().to_parquet(tmp_path / f"{name}.parquet")
    assert {finding.canary for finding in canaries.scan_files(tmp_path)} == set(canaries.values)


def test_the_wire_between_proxy_and_agent_is_unreadable(chain: Chain) -> None:
    recorded = list((chain.home / "wire").glob("agent-*.bin"))
    assert sum(path.stat().st_size for path in recorded) > 50_000
    assert list((chain.home / "wire").glob("broker-*.bin"))
    for path in recorded:
        assert MARKER.scan(path.read_bytes(), path.name) == []


def test_no_hostile_cell_won_against_the_real_vault(chain: Chain) -> None:
    assert len(chain.outcomes) == len(hostile_cells.CELLS)
    assert [name for name, outcome in chain.outcomes.items() if outcome in {"won", ""}] == []


def test_no_file_of_the_state_folder_opens(chain: Chain) -> None:
    printed = b"".join(chain.came_out.values()).decode()
    opened = re.findall(r"([\w.\-]+) outcome=(\w+)", printed)
    assert len([1 for _, outcome in opened if outcome == "EACCES"]) > 20
    assert [name for name, outcome in opened if outcome == "won"] == []


def test_the_sandbox_never_held_one_and_the_vault_did(chain: Chain) -> None:
    assert chain.memory["sandbox"] == []
    if os.geteuid() == 0:
        assert chain.memory["vault"] != []
