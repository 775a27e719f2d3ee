"""A chip in a saved notebook is what this machine's receipts say, foreign, or false; and the page's other answers."""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from signed_world import CARD, Story, World

from cloister.analyst import asks as asks_module
from cloister.analyst import page
from cloister.analyst.agreed import Agreed, Agreement
from cloister.analyst.asks import MAX_NOTEBOOKS, MAX_WAITING, Asks
from cloister.analyst.checking import Checker
from cloister.analyst.receipts import ReceiptBook
from cloister.analyst.rehearsals import Rehearsals
from cloister.analyst.verifying import Verifier
from cloister.errors import UnavailableError

Chip = dict[str, Any]


class Machine:
    """An analyst's machine on which the notebook of a ``Story`` was run."""

    def __init__(self, home: Path) -> None:
        self.home, self.story = home, Story()
        self.world = world = self.story.world
        self.store = home / "receipts"
        book = self.book(world, world.session)
        book.admit(builtins(world.admission))
        for receipt in (self.story.count, self.story.means):
            book.accept(builtins(world.sign(receipt)), "m")

    def book(self, world: World, session: str) -> ReceiptBook:
        return ReceiptBook(
            world.contract, world.vault.did, session, self.store, cards=[world.card], analyst=world.analyst.did,
            evidence=world.exchange(session=session),
        )  # fmt: skip

    @property
    def agreed(self) -> Agreed:
        return Agreed(self.world.terms, self.world.digest)

    def chips(self) -> list[Chip]:
        outputs = [output for cell in self.story.plain["cells"] for output in cell["outputs"]]
        return [asked(output, str(at)) for at, output in enumerate(outputs) if "cloister" in output["metadata"]]

    def check(self, *chips: Chip) -> list[tuple[str, str]]:
        found = Checker(self.store, self.agreed).check(chips)
        return [(verdict["state"], verdict["reason"]) for verdict in found]


def asked(output: dict[str, Any], key: str = "1") -> Chip:
    """Return a chip as a page sends it."""
    return builtins({"key": key, "data": output["data"], "metadata": output["metadata"]})


def builtins(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_untouched_chips_verify(machine: Machine) -> None:
    assert [state for state, _ in machine.check(*machine.chips())] == ["verified", "verified"]


def test_a_chip_as_a_file_stores_it_verifies(machine: Machine) -> None:
    chip = machine.chips()[1]
    chip["data"]["text/plain"] = chip["data"]["text/plain"].splitlines(keepends=True)
    chip["metadata"]["collapsed"] = True
    assert machine.check(chip)[0][0] == "verified"


def releases(chip: Chip) -> dict[str, Any]:
    found: dict[str, Any] = chip["metadata"]["cloister"]["releases"][0]
    return found


def text(chip: Chip) -> None:
    chip["data"]["text/plain"] = chip["data"]["text/plain"].replace("1003.0", "1004.0")


def html(chip: Chip) -> None:
    chip["data"]["text/html"] = chip["data"]["text/html"].replace("1003.0", "1004.0")


def script(chip: Chip) -> None:
    chip["data"]["text/html"] += "<script>1</script>"


def picture(chip: Chip) -> None:
    chip["data"]["image/png"] = "aGVsbG8="


def body(chip: Chip) -> None:
    chip["data"]["application/vnd.cloister.release.v1+json"] = {"version": 2}


def gone(chip: Chip) -> None:
    del chip["data"]["text/html"]


def value(chip: Chip) -> None:
    releases(chip)["rows"][0]["values"][0] = "1004.0"


def question(chip: Chip) -> None:
    releases(chip)["question"] = "clinic.visits: sum of bmi"


def genuine(chip: Chip) -> None:
    releases(chip)["assurance"] = "tdx"


def state(chip: Chip) -> None:
    chip["metadata"]["cloister"]["state"] = "confidential"


def more(chip: Chip) -> None:
    chip["metadata"]["cloister"]["note"] = "signed by the hospital"


def other_receipt(chip: Chip) -> None:
    releases(chip)["receipt"] = "sha256:" + "0" * 64


def other_session(chip: Chip) -> None:
    releases(chip)["session"] = "session-2"


def path(chip: Chip) -> None:
    releases(chip)["session"] = "../../etc"


def no_facts(chip: Chip) -> None:
    chip["metadata"] = {}


def no_releases(chip: Chip) -> None:
    chip["metadata"]["cloister"]["releases"] = []


def strange_facts(chip: Chip) -> None:
    chip["metadata"]["cloister"] = ["releases"]


def one_field_more(chip: Chip) -> None:
    releases(chip)["extra"] = 1


@pytest.mark.parametrize(
    ("edit", "state", "word"),
    [
        (text, "false", "text/plain"),
        (html, "false", "text/html"),
        (script, "false", "text/html"),
        (gone, "false", "text/html"),
        (picture, "false", "image/png"),
        (body, "false", "application/vnd.cloister"),
        (value, "false", "1004.0"),
        (question, "false", "question"),
        (genuine, "false", "assurance"),
        (state, "false", "facts"),
        (more, "false", "facts"),
        (no_facts, "false", "facts"),
        (no_releases, "false", "facts"),
        (strange_facts, "false", "facts"),
        (one_field_more, "false", "facts"),
        (other_receipt, "foreign", "no such receipt"),
        (other_session, "foreign", "session-2"),
        (path, "foreign", "session id"),
    ],
    ids=lambda item: item.__name__ if callable(item) else None,
)
def test_an_edited_chip(edit: Callable[[Chip], None], state: str, word: str, machine: Machine) -> None:
    chip, untouched = machine.chips()
    edit(chip)
    found = machine.check(chip, untouched)
    assert found[0][0] == state
    assert word in found[0][1]
    assert found[1][0] == "verified"


def test_a_chip_of_another_contract_is_foreign(machine: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path)  # another contract's receipts, in the same store, under its own session
    (tmp_path / "receipts" / machine.world.session).rename(tmp_path / "receipts" / "kept")
    world = World(session="session-9")
    book = other.book(world, "session-9")
    book.admit(builtins(world.admission))
    facts = book.accept(builtins(world.sign(world.receipt("v.count()", (1003,)))), "m")
    output = world.chip(facts)
    found = machine.check(asked(output))
    assert found == [("foreign", "released under another contract than this kernel's")]


def test_a_replay_judges_by_the_receipts_it_verified(machine: Machine, tmp_path: Path) -> None:
    story = machine.story
    pairs = zip(machine.chips(), (story.count, story.means), strict=True)
    receipts = {releases(chip)["receipt"]: receipt for chip, receipt in pairs}
    replayed = Agreed(machine.world.terms, machine.world.digest, receipts, {"clinic.visits": CARD})
    chips = machine.chips()
    text(chips[0])
    found = Checker(tmp_path / "empty", replayed).check(chips)
    assert [verdict["state"] for verdict in found] == ["false", "verified"]


def test_a_release_of_another_session_must_say_that_it_is_recalled(machine: Machine) -> None:
    book = machine.book(machine.world, "session-2")
    book.admit(builtins(machine.world.admission))
    facts = book.accept(builtins(machine.world.sign(machine.story.count)), "m")
    assert facts.recalled
    for shown, expected in ((facts, "verified"), (msgspec.structs.replace(facts, recalled=False), "false")):
        output = machine.world.chip(shown)
        assert machine.check(asked(output))[0][0] == expected


def test_an_altered_store_vouches_for_nothing(machine: Machine) -> None:
    file = machine.store / machine.world.session / "receipts.jsonl"
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    kept[0]["receipt"]["signatures"] = kept[1]["receipt"]["signatures"]
    file.write_text("\n".join(map(json.dumps, kept)))
    state, reason = machine.check(machine.chips()[0])[0]
    assert state == "foreign"
    assert "cannot be used" in reason
    file.write_text("{")
    assert machine.check(machine.chips()[0])[0][0] == "foreign"


# What takes time is answered beside the kernel.


def read(question: dict[str, Any]) -> Any:
    return page.read_ask(json.dumps(question).encode())


def ask(machine: Machine, *questions: dict[str, Any], agreement: Agreement | None = None) -> list[Any]:
    """Answer on a running event loop, and see that the loop was never held up."""

    async def run() -> list[Any]:
        known = agreement or Agreement(lambda: machine.agreed)
        desk = Asks(known, Rehearsals(lambda: machine.home / "rehearsals.json"))
        answers: list[Any] = []
        for question in questions:
            desk.take(read(question), answers.append)
        longest, last = 0.0, time.perf_counter()
        while len(answers) < len(questions):
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        desk.close()
        assert longest < 0.5
        return answers

    return asyncio.run(run())


@pytest.fixture
def home(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("CLOISTER_HOME", str(machine.home))
    return machine


def test_the_page_gets_what_it_asked_for(home: Machine) -> None:
    chips, notebook = home.chips(), home.story.plain
    answers = ask(
        home,
        {"type": "check", "id": "a", "chips": chips},
        {"type": "estimate", "id": "b", "cells": ["1"]},
        {"type": "bundle", "id": "c", "notebook": notebook},
        {"type": "verify", "id": "d", "notebook": notebook},
        {"type": "verify", "id": "e", "notebook": home.story.notebook()},
    )
    found = {answer["id"]: answer for answer in answers}
    assert [chip["state"] for chip in found["a"]["chips"]] == ["verified", "verified"]
    assert found["b"]["unknown"] == 1
    expected = home.story.notebook()["metadata"]["cloister"]["bundle"]
    for part in ("contract", "cards", "admissions", "receipts"):
        assert found["c"]["bundle"][part] == expected[part]
    # Without a bundle of its own it is verified with what this machine holds.
    for answer in (found["d"], found["e"]):
        assert answer["type"] == "verified"
        assert answer["exit_code"] == answer["report"]["exit_code"] == 1
        assert set(answer["report"]["reservations"]) >= {"simulated", "origin unknown"}


def test_a_tampered_notebook_fails_verification(home: Machine) -> None:
    notebook = home.story.notebook()
    text(notebook["cells"][1]["outputs"][1])
    (answer,) = ask(home, {"type": "verify", "id": "1", "notebook": notebook})
    assert answer["exit_code"] == 2
    assert any(found["code"] == "chip.text" and found["cell"] == 1 for found in answer["report"]["findings"])


@pytest.mark.parametrize("kind", ["verify", "bundle"])
@pytest.mark.parametrize(
    "notebook",
    [
        {},
        {"nbformat": 3, "worksheets": [], "cells": []},
        {"nbformat": 4, "cells": "x"},
        {"nbformat": 4, "cells": [1]},
        {"nbformat": 4, "cells": [{"cell_type": "code", "outputs": {"a": 1}}]},
        {"nbformat": "4", "cells": []},
    ],
)
def test_what_is_no_notebook(kind: str, notebook: dict[str, Any], home: Machine) -> None:
    (answer,) = ask(home, {"type": kind, "id": "1", "notebook": notebook})
    assert (answer["type"], answer["id"], answer["code"]) == ("error", "1", "page.notebook")


def test_a_notebook_nested_too_deeply(home: Machine) -> None:
    metadata: dict[str, Any] = {}
    for _ in range(400):
        metadata = {"a": metadata}
    cell = {"cell_type": "code", "outputs": [{"metadata": metadata}]}
    answers = ask(home, {"type": "bundle", "id": "1", "notebook": {"nbformat": 4, "cells": [cell]}})
    assert answers[0]["code"] in ("page.notebook", "bundle.nothing")


def test_a_notebook_without_releases_or_with_foreign_ones_cannot_be_bundled(home: Machine) -> None:
    empty = {"nbformat": 4, "cells": []}
    foreign = copy.deepcopy(home.story.plain)
    releases(foreign["cells"][1]["outputs"][1])["session"] = "elsewhere"
    answers = ask(home, *({"type": "bundle", "id": "1", "notebook": notebook} for notebook in (empty, foreign)))
    assert [answer["code"] for answer in answers] == ["bundle.nothing", "receipt.unknown"]
    assert all(answer["next_step"] for answer in answers)


def test_without_a_contract_the_answer_says_so(home: Machine) -> None:
    questions = [{"type": "estimate", "id": "1", "cells": []}, {"type": "check", "id": "2", "chips": []}]
    assert [answer["code"] for answer in ask(home, *questions, agreement=Agreement(None))] == ["page.contract"] * 2


@pytest.mark.parametrize(
    ("question", "most"),
    [
        ({"type": "estimate", "id": "1", "cells": []}, MAX_WAITING),
        ({"type": "bundle", "id": "1", "notebook": {}}, MAX_NOTEBOOKS),
    ],
)
def test_a_page_that_asks_without_end_is_told_to_wait(question: dict[str, Any], most: int, home: Machine) -> None:
    async def run() -> None:
        desk = Asks(Agreement(lambda: home.agreed), Rehearsals(lambda: home.home / "x"))
        answers: list[Any] = []
        for _ in range(most):
            desk.take(read(question), answers.append)
        with pytest.raises(UnavailableError) as caught:
            desk.take(read(question), answers.append)
        assert caught.value.code == "page.busy"
        await asyncio.wait(set(desk._tasks), timeout=20)
        assert len(answers) == most
        desk.take(read(question), answers.append)  # there is room again
        desk.close()

    asyncio.run(run())


def test_a_defect_costs_the_answer_and_not_the_kernel(home: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks_module, "estimate", lambda *_: 1 // 0)
    (answer,) = ask(home, {"type": "estimate", "id": "1", "cells": []})
    assert answer["code"] == "page.fault"


def test_a_verification_that_takes_too_long_is_ended() -> None:
    slow = Verifier((sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.3)
    started = time.perf_counter()
    with pytest.raises(UnavailableError) as caught:
        slow.verify("1", b"{}")
    assert caught.value.code == "verify.timeout"
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "code", ["print(1)", "print('{}')", 'print(\'{"exit_code": "x"}\')', "import sys; sys.exit('no')"]
)
def test_a_verification_without_a_report_says_why(code: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        Verifier((sys.executable, "-c", code)).verify("1", b"{}")
    assert caught.value.code == "verify.failed"


def test_a_kernel_that_ends_does_not_wait_for_a_verification() -> None:
    slow = Verifier((sys.executable, "-c", "import time; time.sleep(60)"))
    threading.Timer(0.3, slow.stop).start()
    started = time.perf_counter()
    with pytest.raises(UnavailableError):
        slow.verify("1", b"{}")
    assert time.perf_counter() - started < 5
    with pytest.raises(UnavailableError, match="shutting down"):
        slow.verify("1", b"{}")
