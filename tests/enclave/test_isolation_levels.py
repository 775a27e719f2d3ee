"""The table of docs/isolation.md, row by row: take a feature away, read the evidence, try every hostile cell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.enclave import isolation

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "attacks"))

import hostile_cells  # noqa: E402
import jailed  # noqa: E402

# Without a filter a vfork from Python would corrupt the kernel itself, so it is not tried there.
_UNSAFE_WITHOUT_FILTER = {"vfork_raw"}

# What Landlock alone stands for: everything that opens a file.
FILES = set("""
    attester_write attesters capsule cloister_home_keys delete device_memory hardlink_in home_of_the_user ledger
    list_cloister_home list_processes passwords proc_self_maps proc_self_mem rename_in symlink_escape victim_cmdline
    victim_descriptors write_packages write_shm write_tmp
""".split())  # noqa: SIM905  # fmt: skip
# Open too if the process looked at is neither privileged nor, as the vault is, non-dumpable.
OF_PROCESSES = {"victim_environ", "victim_maps", "victim_memory_file", "victim_executable_link", "setns"}
# Closed by ordinary permissions where the user is not root or does not own the installation.
OF_OTHERS = {
    "proc_self_mem",
    "proc_self_maps",
    "write_packages",
    "home_of_the_user",
    "device_memory",
    "victim_descriptors",
}
BY_LANDLOCK = {
    "victim_memory_file",
    "process_vm_readv",
    "ptrace_attach",
    "exec_raw",
    "truncating_open",
    "truncate_path",
}
BY_SCOPES = {"kill_victim", "tgkill_victim", "sigqueue_victim", "abstract_raw"}


def outcomes(*arguments: str, missing: str, leave_out: set[str] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Run every cell in one jail and return the evidence and each cell's outcome."""
    cells = [cell for cell in hostile_cells.CELLS if cell.name not in (leave_out or set())]
    with jailed.surroundings() as facts, jailed.jail("--uid", "shared", *arguments, missing=missing) as kernel:
        assert kernel.run(hostile_cells.prelude(facts, jailed=True))["status"] == "ok"
        got = kernel.run("\n".join(f"print({cell.name!r}, end=' ')\n{cell.code}" for cell in cells))
        assert got["status"] == "ok", got["error"]
        assert kernel.alive
        lines = [line.split(" outcome=") for line in got["stdout"].splitlines() if " outcome=" in line]
        return kernel.isolation, {name.split()[-1]: result for name, result in lines}


def test_the_document_shows_the_table_the_code_holds() -> None:
    assert isolation.feature_table() in (REPOSITORY / "docs" / "isolation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_every_older_landlock_still_stops_every_cell(abi: int) -> None:
    evidence, got = outcomes(missing=f"landlock.abi = lambda: {abi}")
    assert evidence["landlock"] == abi
    assert evidence["level"] == "reduced"
    assert len(got) == len(hostile_cells.CELLS)
    assert [name for name, result in got.items() if result == "won"] == []


def test_without_landlock_files_are_open_and_nothing_else() -> None:
    evidence, got = outcomes(missing="landlock.abi = lambda: 0")
    assert (evidence["landlock"], evidence["level"], evidence["seccomp"]) == (0, "none", "allowlist")
    won = {name for name, result in got.items() if result == "won"}
    assert FILES - OF_OTHERS <= won <= FILES | OF_PROCESSES
    assert not isolation.allows(evidence, "production")
    assert isolation.allows(evidence, "demonstration")


def test_without_seccomp_landlock_holds_files_tcp_signals_and_memory() -> None:
    evidence, got = outcomes(missing="seccomp.available = lambda: False", leave_out=_UNSAFE_WITHOUT_FILTER)
    assert (evidence["seccomp"], evidence["level"]) == ("none", "none")
    won = {name for name, result in got.items() if result == "won"}
    assert not won & (FILES | BY_LANDLOCK)
    if evidence["landlock"] >= isolation.SCOPES_ABI:
        assert not won & BY_SCOPES
    assert {"udp", "prlimit_victim", "x11_raw", "cpu_clock_of_victim", "chmod_ledger"} <= won
    assert not isolation.allows(evidence, "production")


@pytest.mark.parametrize(
    ("landlock", "allowlist", "own_uid", "level"),
    [
        (7, True, True, "full"), (6, True, True, "full"), (5, True, True, "reduced"), (7, True, False, "reduced"),
        (1, True, False, "reduced"), (0, True, True, "none"), (7, False, True, "none"), (0, False, False, "none"),
    ],
)  # fmt: skip
def test_level(landlock: int, allowlist: bool, own_uid: bool, level: str) -> None:
    assert isolation.level_of(landlock, allowlist, own_uid=own_uid) == level


@pytest.mark.parametrize("feature", isolation.FEATURES, ids=lambda feature: feature.missing_line)
def test_each_row_names_a_line_that_evidence_can_hold(feature: isolation.Feature) -> None:
    line = json.loads("{" + feature.missing_line + "}")
    (key, value), whole = *line.items(), isolation.unconfined()
    assert key in whole
    evidence = isolation.achieved(landlock_abi=7, allowlist=True, own_uid=True, limits={}, capabilities=0) | line
    if key != "level":
        reached = isolation.level_of(
            evidence["landlock"], evidence["seccomp"] == "allowlist", own_uid=evidence["uid"] == "own"
        )
        assert reached == feature.without
    assert isolation.allows({"level": feature.without}, "production") == (feature.without != "none")
    assert value in {0, 1, 2, 3, 4, 5, "none", "shared"}


def test_a_missing_or_strange_report_opens_nothing_real() -> None:
    for report in ({}, {"level": None}, {"level": "FULL"}):
        assert not isolation.allows(report, "production")
    assert not isolation.allows({"level": "none"}, "anything")


def test_probe_never_promises_more_than_a_sandbox_reaches(tmp_path: Path) -> None:
    order = ["none", "reduced", "full"]
    with jailed.jail() as kernel:
        reached = kernel.isolation
        assert order.index(isolation.probe().level) <= order.index(reached["level"])
        assert isolation.probe(kernel.work.parent.parent).landlock == reached["landlock"]
