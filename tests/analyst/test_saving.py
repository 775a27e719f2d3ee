"""What may not be saved is kept out of notebooks, of receipt stores and of bundles; a reviewer is told that it was."""

from __future__ import annotations

import copy
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from signed_world import World, code_cell, result
from typer.testing import CliRunner

from cloister.analyst import bundling, run, storing
from cloister.analyst.agreed import Agreed, Agreement
from cloister.analyst.bundling import bundle_notebook
from cloister.analyst.checking import Checker
from cloister.analyst.receipts import ReceiptBook, load_session
from cloister.analyst.trust import TrustStore
from cloister.cli import notebooks
from cloister.contract import packs
from cloister.contract.clauses import PackTerms
from cloister.contract.storage import Unsaved
from cloister.receipt import chip, saving
from cloister.receipt.facts import ReleaseFacts
from cloister.replay import compare
from cloister.reviewer.notebook import CodeCell
from cloister.reviewer.verify import verify

WHY = Unsaved(4, 3, "beijing-4", "art. 27")
CANARY = "3141.59"
STREAM = {"output_type": "stream", "name": "stdout", "text": CANARY}


def notebook(*outputs: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    cells = [code_cell("1", {**STREAM, "text": "before"}), code_cell("2", *outputs)]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def display(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": CANARY}, "metadata": metadata}


# Notebooks -------------------------------------------------------------------------------------------

ROW = {"cell": ["x"], "values": [CANARY], "errors": ["1"], "unreliable": [False]}
RELEASE = {
    "release": "r", "question": "v: count", "recalled": True, "measures": ["count"], "rows": [ROW],
    "unsaved": msgspec.to_builtins(WHY),
}  # fmt: skip
MARKED = {
    "a mark before a stream": (saving.mark(WHY), STREAM),
    "a mark after it": (STREAM, saving.mark(WHY)),
    "an output with a mark": (display(saving.marked({"isolated": True}, WHY)), STREAM),
    "a chip of such a result": (STREAM, display({"cloister": {"state": "simulated", "releases": [RELEASE]}})),
    "a mark that cannot be read": (STREAM, display({"cloister": {"unsaved": "no"}})),
    "a mark inside an output": ({**display({}), "data": {"application/json": [display(saving.marked({}, WHY))]}},),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_cell_with_a_mark_is_saved_without_its_outputs(name: str) -> None:
    saved = notebook(*copy.deepcopy(MARKED[name]))
    assert saving.strip(saved) == 1
    assert CANARY not in json.dumps(saved)
    assert saved["cells"][0]["outputs"][0]["text"] == "before"
    [left] = saved["cells"][1]["outputs"]
    text = left["data"]["text/plain"]
    assert "Not in this file" in text
    assert "recalled" in text
    assert saving.is_own(left)
    nbformat.validate(nbformat.from_dict(saved))
    # Saving again changes nothing.
    again = copy.deepcopy(saved)
    assert saving.strip(again) == 0
    assert again == saved


def test_the_placeholder_says_by_which_clause(tmp_path: Path) -> None:
    text = saving.placeholder(WHY)["data"]["text/plain"]
    assert all(said in text for said in ("tier 4", "above tier 3", "beijing-4", "art. 27"))


def test_what_has_no_mark_stays_as_it_is() -> None:
    plain = notebook(STREAM, display({"cloister": {"state": "simulated", "releases": [{"release": "r"}]}}), widgets={})
    before = copy.deepcopy(plain)
    assert saving.strip(plain) == 0
    assert plain == before
    for strange in ({}, {"cells": 3}, {"cells": [None, {"outputs": 1}]}, {"cells": [], "metadata": 1}):
        assert saving.strip(strange) == 0


def test_states_of_widgets_go_where_anything_has_a_mark() -> None:
    held = {"application/vnd.jupyter.widget-state+json": {"state": {"w": {"state": {"value": CANARY}}}}}
    marked = {**held, "outputs": [saving.mark(WHY)]}
    for outputs, widgets, kept in (((STREAM,), held, True), ((saving.mark(WHY),), held, False), ((), marked, False)):
        saved = notebook(*outputs, widgets=copy.deepcopy(widgets))
        saving.strip(saved)
        assert ("widgets" in saved["metadata"]) == kept


def test_states_of_widgets_go_by_the_contract_of_the_kernel(tmp_path: Path) -> None:
    kernels = {"cloister-strict": False, "cloister-strict-mock": False, "cloister-free": True, "python3": True}
    store = TrustStore(tmp_path)
    for name, world in (("strict", strict()), ("free", World())):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "contract.json").write_bytes(msgspec.json.encode(world.contract))
        (folder / "policy.toml").write_text("")
        stored = {"endpoint": "", "contract_digest": "", "policy_digest": "", "accept_simulated": True}
        (folder / "entry.json").write_text(json.dumps({**stored, "purpose": "", "operator": ""}))
    for kernel, kept in {**kernels, "cloister-unknown": True, "cloister-../x": True}.items():
        saved = notebook(STREAM, widgets={"state": CANARY}, kernelspec={"name": kernel})
        storing.strip(saved, store)
        assert ("widgets" in saved["metadata"]) == kept, kernel


# Receipts --------------------------------------------------------------------------------------------


def strict() -> World:
    """A world whose contract keeps results above tier 3 out of files."""
    return World(terms={"pack": PackTerms("beijing-4", packs.load("beijing-4").digest)})


def accepted(world: World, tmp_path: Path, *tiers: int | None) -> list[ReleaseFacts]:
    book = ReceiptBook(
        world.contract, world.vault.did, world.session, tmp_path, cards=[world.card], analyst=world.analyst.did,
        evidence=world.exchange(),
    )  # fmt: skip
    book.admit(msgspec.to_builtins(world.admission))
    found = []
    for number, tier in enumerate(tiers):
        stated = {} if tier is None else {"tier": tier}
        receipt = world.receipt("v.count()", (1000 + number,), sigma=4.0 * 2**number, **stated)
        found.append(book.accept(msgspec.json.decode(msgspec.json.encode(world.sign(receipt))), "m1"))
    return found


def test_receipts_that_state_too_high_a_tier_or_none_are_shown_and_not_kept(tmp_path: Path) -> None:
    world = strict()
    kept, stated, silent = accepted(world, tmp_path, 3, 4, None)
    assert kept.unsaved is msgspec.UNSET
    assert kept.notes is msgspec.UNSET
    assert stated.unsaved == silent.unsaved == Unsaved(4, 3, "beijing-4", packs.load("beijing-4").storage)
    assert any("shown, not saved" in note for note in stated.notes)
    assert len(load_session(tmp_path, world.session).receipts) == 1
    for path in (tmp_path / world.session).iterdir():
        assert b'"1001"' not in path.read_bytes()
        assert b'"1002"' not in path.read_bytes()
    # Without such a pack nothing changes.
    free = World(session="session-2")
    assert all(one.unsaved is msgspec.UNSET for one in accepted(free, tmp_path, 5, None))
    assert len(load_session(tmp_path, free.session).receipts) == 2


def test_chips_of_a_session_are_verified_from_memory(tmp_path: Path) -> None:
    world = strict()
    book = ReceiptBook(
        world.contract, world.vault.did, world.session, tmp_path, cards=[world.card], analyst=world.analyst.did
    )
    book.admit(msgspec.to_builtins(world.admission))
    receipt = msgspec.to_builtins(world.sign(world.receipt("v.count()", (1001,), tier=4)))
    facts = book.accept(msgspec.json.decode(msgspec.json.encode(receipt)), "m1")
    data, metadata = chip.display([facts])
    asked = {"key": "k", "data": data, "metadata": json.loads(json.dumps(metadata))}
    agreement = Agreement(lambda: Agreed(world.terms, world.digest))
    assert Checker(tmp_path, agreement.get()).check([asked])[0]["state"] == "foreign"
    agreement.take_cards([msgspec.to_builtins(world.card)])
    agreement.keep(book.in_memory)
    assert Checker(tmp_path, agreement.get()).check([asked])[0]["state"] == "verified"
    asked["data"]["text/plain"] = asked["data"]["text/plain"].replace("1001", "1002")
    assert Checker(tmp_path, agreement.get()).check([asked])[0]["state"] == "false"


def test_a_notebook_is_bundled_and_verified_without_what_was_left_out(tmp_path: Path) -> None:
    world = strict()
    low, high = accepted(world, tmp_path, 2, 4)
    cells = [
        code_cell("v.count()", result("1000.0"), world.chip(low)),
        code_cell("v.count()", saving.mark(high.unsaved), result("1001.0"), world.chip(high)),
    ]
    live = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    saved = bundle_notebook(live, tmp_path)
    assert saving.strip(saved) == 1
    assert "1001" not in json.dumps(saved)
    report = verify(saved, now=datetime(2026, 2, 1, tzinfo=UTC), allow_simulated=True, allow_unknown_origin=True)
    told = [one for one in report.findings if one.code == "output.left-out"]
    assert [(one.cell, one.level) for one in told] == [(1, "note")]
    # The tiers in the placeholder are no numbers that need a receipt; with another text they would be.
    assert not [one for one in report.findings if one.cell == 1 and one.code != "output.left-out"]
    # Names of packs and articles are no numbers that need a receipt.
    named = Unsaved(3, 2, "pboc-draft-2023", "art. 18.5")
    saved["cells"][1]["outputs"] = [saving.placeholder(named), saving.mark(named), saving.withheld(named)]
    report = verify(saved, now=datetime(2026, 2, 1, tzinfo=UTC), allow_simulated=True, allow_unknown_origin=True)
    assert [one.code for one in report.findings if one.cell == 1] == ["output.left-out"]
    del saved["cells"][1]["outputs"][1:]
    saved["cells"][1]["outputs"][0]["data"]["text/plain"] += " 77.25"
    forged = verify(saved, now=datetime(2026, 2, 1, tzinfo=UTC), allow_simulated=True, allow_unknown_origin=True)
    assert not [one for one in forged.findings if one.code == "output.left-out"]
    assert [one for one in forged.findings if one.cell == 1]


def test_a_headless_run_writes_no_byte_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = nbformat.from_dict(notebook(*MARKED["a chip of such a result"]))
    info = {"mode": "confidential", "word": "Simulated"}
    monkeypatch.setattr(run, "run_notebook", lambda *_, **__: (shown, info))
    monkeypatch.setattr(bundling, "bundle_notebook", lambda executed, _: executed)
    target = tmp_path / "done.ipynb"
    done = CliRunner().invoke(notebooks.app, ["run", str(tmp_path / "x.ipynb"), "--output", str(target)])
    assert done.exit_code == 0, done.output
    assert "outputs of 1 cell left out" in done.output
    assert "v: count" in done.output
    assert CANARY not in done.output
    assert CANARY.encode() not in target.read_bytes()
    assert nbformat.read(target, 4).cells[0].outputs[0].text == "before"
    # Bundling one that another program saved takes it out as well.
    target.write_text(json.dumps(notebook(*MARKED["a chip of such a result"])))
    assert CliRunner().invoke(notebooks.app, ["bundle", str(target)]).exit_code == 0
    assert CANARY.encode() not in target.read_bytes()


def test_a_replay_does_not_hold_such_a_cell_against_its_author() -> None:
    saved = CodeCell(0, "v.count()", (saving.placeholder(WHY),))
    ran = ({"output_type": "error", "ename": "E", "evalue": "no receipt", "traceback": []},)
    assert compare.compare(saved, ran, "").state == "not compared"
    assert compare.compare(saved._replace(outputs=(result("1"),)), ran, "").state == "differs"
