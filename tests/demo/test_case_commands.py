"""Commands of cases: what is built anew is built anew on demand only and under the pair's lock; names are checked."""

from __future__ import annotations

import base64
import fcntl
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from cloister import cli
from cloister.analyst import kernelspecs
from cloister.demo import __main__ as process
from cloister.demo import cases, pair, parties
from cloister.demo.scene import Scene
from cloister.demo.world import demo_folder
from cloister.errors import RefusedError

built: list[str] = []
"""The effect of every world that was built anew, in order."""


@pytest.fixture
def resets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is built anew: the name of the scene, and whether the pair's lock was held meanwhile."""
    done: list[tuple[str, bool]] = []
    built.clear()
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))

    def reset(home: Path, *, scene: Any) -> None:
        built.append(scene.effect)
        with (demo_folder(home, parties.case_of(scene)) / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                done.append((scene.name, True))
            else:
                done.append((scene.name, False))

    monkeypatch.setattr(parties, "reset", reset)
    monkeypatch.setattr(pair, "up", lambda home, case="", effect=1.0: {"home": str(home), "case": case})
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


def small(name: str, effect: float = 1.0) -> Scene:
    """Return a case with a few rows of each table."""
    scene = cases.scene(name, effect)
    cards = tuple(msgspec.structs.replace(card, row_limit=64) for card in scene.cards)
    return scene._replace(
        cards=cards, tables={table: partial(lambda make: make().head(50), make) for table, make in scene.tables.items()}
    )


def test_another_effect_needs_a_reset(resets: list[tuple[str, bool]], tmp_path: Path) -> None:
    """A world keeps its effect: whoever asks for another is told, and told how."""
    parties.build_world(tmp_path, scene=small("carbon", 0.0))
    kept = CliRunner().invoke(cli.app, ["demo", "case", "carbon"])
    assert kept.exit_code == 0
    assert "planted effect: 0;" in kept.stdout
    assert CliRunner().invoke(cli.app, ["demo", "case", "carbon", "--effect", "0.0"]).exit_code == 0
    refused = CliRunner().invoke(cli.app, ["demo", "case", "carbon", "--effect", "0.5"])
    assert isinstance(refused.exception, RefusedError)
    assert refused.exception.code == "demo.effect"
    assert "with effect 0" in str(refused.exception)
    assert "cloister demo case carbon --reset --effect 0.5" in refused.exception.next_step
    assert resets == []
    assert CliRunner().invoke(cli.app, ["demo", "case", "carbon", "--reset", "--effect", "0.5"]).exit_code == 0
    assert CliRunner().invoke(cli.app, ["demo", "case", "carbon", "--reset"]).exit_code == 0
    assert built == ["0.5", "1"]


@pytest.mark.parametrize("effect", ["-0.1", "1.5", "nan", "inf"])
def test_an_effect_is_from_none_to_all(effect: str, resets: list[tuple[str, bool]]) -> None:
    refused = CliRunner().invoke(cli.app, ["demo", "case", "carbon", "--reset", f"--effect={effect}"])
    assert isinstance(refused.exception, RefusedError)
    assert refused.exception.code == "demo.effect"
    assert resets == []


def test_neither_contract_nor_cards_tell_a_class_the_effect(tmp_path: Path) -> None:
    world = parties.build_world(tmp_path, scene=small("carbon", 0.0))
    assert world.effect == "0"
    without, usual = small("carbon", 0.0), small("carbon")
    assert (without.cards, without.title) == (usual.cards, usual.title)
    signed = [world.contract_envelope(), *world.card_envelopes()]
    assert not any(b"effect" in base64.b64decode(document.payload) for document in signed)
