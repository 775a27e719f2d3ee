"""Commands of cases: what is built anew is built anew on demand only and under the pair's lock; names are checked."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloister import cli
from cloister.analyst import kernelspecs
from cloister.demo import __main__ as process
from cloister.demo import cases, pair, parties
from cloister.demo.world import demo_folder
from cloister.errors import RefusedError


@pytest.fixture
def resets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is built anew: the name of the scene, and whether the pair's lock was held meanwhile."""
    done: list[tuple[str, bool]] = []
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))

    def reset(home: Path, *, scene: Any) -> None:
        with (demo_folder(home, parties.case_of(scene)) / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                done.append((scene.name, True))
            else:
                done.append((scene.name, False))

    monkeypatch.setattr(parties, "reset", reset)
    monkeypatch.setattr(pair, "up", lambda home, case="": {"home": str(home), "case": case})
    monkeypatch.setattr(kernelspecs, "install_kernelspecs", lambda *_given: ("case", "case-mock"))
    return done


def test_a_stale_case_is_not_reset_unasked(resets: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parties, "is_stale", lambda *_given: True)
    refused = CliRunner().invoke(cli.app, ["demo", "case", "fraud"])
    assert isinstance(refused.exception, RefusedError)
    assert refused.exception.code == "demo.stale"
    assert "cloister demo case fraud --reset" in refused.exception.next_step
    assert resets == []
    assert CliRunner().invoke(cli.app, ["demo", "case", "fraud", "--reset"]).exit_code == 0
    assert resets == [(cases.scene("fraud").name, True)]


def test_every_reset_holds_the_lock(resets: list[tuple[str, bool]]) -> None:
    assert CliRunner().invoke(cli.app, ["demo", "reset"]).exit_code == 0
    assert process.main(["reset"]) == 0
    assert process.main(["reset", "carbon"]) == 0
    assert resets == [(parties.DEMO.name, True)] * 2 + [(cases.scene("carbon").name, True)]


@pytest.mark.parametrize("name", ["../world", "/tmp", "a/b", ".", "Fraud", "fraud\n", "x" * 40])
def test_a_name_of_a_case_leads_to_no_other_folder(name: str, resets: list[tuple[str, bool]], tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        demo_folder(tmp_path, name)
    assert caught.value.code == "demo.case"
    for command in ("down", "status", "supervise", "up", "build", "reset"):
        if command != "up":  # the fixture replaced it
            assert process.main([command, name]) == 1
    assert resets == []
    assert demo_folder(tmp_path) == tmp_path / "demo"
    assert all(demo_folder(tmp_path, known).parent == tmp_path / "demo" / "cases" for known in cases.NAMES)
