"""What a page may send, and what it is told: status, checklist, contract, budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from signed_world import World

from cloister.analyst import limits, page
from cloister.analyst.agreed import Agreement, agreed_to
from cloister.analyst.checklist import NAMES, NOT_ATTESTED, checklist
from cloister.analyst.events import Events
from cloister.analyst.rehearsals import Rehearsals
from cloister.analyst.standing import RECEIPTS_SHOWN, Standing, budget_of, mark_of, promotes_to
from cloister.analyst.uplink import State
from cloister.analyst.verdict import Verdict
from cloister.contract import packs
from cloister.contract.clauses import PackTerms
from cloister.errors import CloisterError, MalformedError, TrustError, UnavailableError
from cloister.receipt.facts import ReleaseFacts

DEEP = "[" * 200_000
NOTEBOOK: dict[str, Any] = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
GOOD: list[dict[str, Any]] = [
    {"type": "refresh"},
    {"type": "estimate", "id": "1", "cells": ["1 + 1", ""]},
    {"type": "check", "id": "1", "chips": [{"key": "a", "data": {"text/plain": "x"}, "metadata": {}}]},
    {"type": "verify", "id": "1", "notebook": NOTEBOOK},
    {"type": "bundle", "id": "1", "notebook": NOTEBOOK},
]


@pytest.mark.parametrize("ask", GOOD, ids=lambda ask: ask["type"])
def test_what_a_page_may_ask(ask: dict[str, Any]) -> None:
    page.read_ask(json.dumps(ask).encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "page.shape"),
        (b"null", "page.shape"),
        (b"[]", "page.shape"),
        (b"{}", "page.shape"),
        (b'"refresh"', "page.shape"),
        (b'{"type": 3}', "page.shape"),
        (b'{"type": "spend", "id": "1"}', "page.type"),
        (b'{"type": "status"}', "page.type"),
        (b'{"type": "estimate", "cells": []}', "page.shape"),
        (b'{"type": "estimate", "id": 7, "cells": []}', "page.shape"),
        (b'{"type": "estimate", "id": {"a": 1}, "cells": []}', "page.shape"),
        (b'{"type": "estimate", "id": "1", "cells": "1 + 1"}', "page.shape"),
        (b'{"type": "estimate", "id": "1", "cells": [1]}', "page.shape"),
        (b'{"type": "estimate", "id": "1", "cells": null}', "page.shape"),
        (b'{"type": "check", "id": "1", "chips": [{"key": 1, "data": {}, "metadata": {}}]}', "page.shape"),
        (b'{"type": "check", "id": "1", "chips": [{"key": "1", "data": [], "metadata": {}}]}', "page.shape"),
        (b'{"type": "check", "id": "1", "chips": [{"key": "1", "data": {}}]}', "page.shape"),
        (b'{"type": "verify", "id": "1"}', "page.shape"),
        (b'{"type": "verify", "id": "1", "notebook": []}', "page.shape"),
        (b'{"type": "bundle", "id": "1", "notebook": "x"}', "page.shape"),
        (b'{"type": "estimate", "id": "1", "cells": ["\xff"]}', "page.shape"),
        (f'{{"type": "check", "id": "1", "chips": {DEEP}'.encode(), "page.shape"),
        (f'{{"type": "verify", "id": "1", "notebook": {DEEP}'.encode(), "page.shape"),
        (f'{{"type": "refresh", "x": {DEEP}'.encode(), "page.shape"),
        (json.dumps({"type": "estimate", "id": "x" * 129, "cells": []}).encode(), "page.shape"),
        (json.dumps({"type": "refresh", "padding": "x" * page.LIMITS["refresh"]}).encode(), "page.size"),
        (json.dumps({"type": "estimate", "id": "1", "cells": ["x" * page.LIMITS["estimate"]]}).encode(), "page.size"),
        (json.dumps({"type": "check", "id": "1", "chips": ["x" * page.LIMITS["check"]]}).encode(), "page.size"),
        (b'{"type": "verify", "id": "1", "notebook": {"a": "' + b"x" * page.LIMITS["verify"] + b'"}}', "page.size"),
    ],
)
def test_what_a_page_may_not_ask(raw: bytes, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        page.read_ask(raw)
    assert caught.value.code == code
    assert caught.value.next_step
    assert len(caught.value.reason) < 400


def test_an_answer_quotes_the_id_if_there_is_one() -> None:
    assert page.ask_id(b'{"type": "spend", "id": "7"}') == "7"
    for raw in (
        b'{"type": "spend", "id": 7}',
        b"{",
        b"[]",
        DEEP.encode(),
        b'{"type": "x", "id": "' + b"x" * 200 + b'"}',
    ):
        assert page.ask_id(raw) == ""


GENUINE = Verdict(
    word="Genuine: TDX", tone="green", assurance="tdx", status="affirming", reasons=(),
    isolation={"level": "full", "landlock": 7}, time="2026-11-21T00:00:00Z", env_digest="sha384:" + "a" * 96,
    contract="sha256:" + "c" * 64, vault_id="", binding="b" * 96, signer="",
)  # fmt: skip


def verdict(**changes: Any) -> Verdict:
    return msgspec.structs.replace(GENUINE, **changes)


def states(found: list[page.ChecklistItem]) -> dict[str, str]:
    assert [item["name"] for item in found] == list(NAMES)
    assert all(item["text"] for item in found)
    return {item["name"]: item["state"] for item in found}


def test_a_simulator_is_never_genuine_hardware() -> None:
    simulated = verdict(word="Simulated", assurance="simulated", status="contraindicated", tone="amber")
    found = checklist(State.OPEN, simulated, None, World().terms)
    assert states(found)["hardware"] == "fail"
    assert "simulated" in found[0]["text"]
    assert states(found)["code"] == "warn"


def test_genuine_hardware_is_all_that_was_established() -> None:
    found = states(checklist(State.OPEN, verdict(), None, None))
    assert found == {
        "hardware": "ok", "code": "ok", "fresh": "ok", "session": "ok", "placement": "unknown", "isolation": "ok",
    }  # fmt: skip
    assert states(checklist(State.OPEN, verdict(), None, World().terms))["placement"] == "warn"
    split = msgspec.structs.replace(World().terms, placement="split")
    assert states(checklist(State.OPEN, verdict(), None, split))["placement"] == "unknown"


def test_a_replay_claims_nothing_about_an_enclave() -> None:
    kernel, uplink, _ = standing(World(), mode="replay")
    uplink.state, uplink.verdict = State.OPEN, verdict(tone="green", status=NOT_ATTESTED)
    assert kernel.status()["tone"] == "grey"
    found = states(kernel.status()["checklist"])
    assert found.pop("isolation") == "ok"
    assert set(found.values()) == {"unknown"}


@pytest.mark.parametrize(
    ("isolation", "state"),
    [
        ({"level": "full"}, "ok"),
        ({"level": "reduced"}, "warn"),
        ({"level": "none"}, "fail"),
        ({"level": "perfect"}, "unknown"),
        ({}, "unknown"),
        ("full", "unknown"),
    ],
)
def test_isolation_is_what_the_sandbox_reached(isolation: Any, state: str) -> None:
    assert states(checklist(State.OPEN, verdict(isolation=isolation), None, None))["isolation"] == state


@pytest.mark.parametrize("state", [State.DIALLING, State.LOST, State.REFUSED])
def test_nothing_is_claimed_without_a_session(state: State) -> None:
    error = UnavailableError("channel.lost", "gone")
    assert set(states(checklist(state, verdict(), error, None)).values()) == {"unknown"}
    assert set(states(checklist(state, None, None, None)).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("appraisal.simulated", "hardware"),
        ("appraisal.env_digest", "code"),
        ("evidence.binding", "session"),
        ("appraisal.isolation", "isolation"),
    ],
)
def test_a_refusal_says_which_line_failed(code: str, name: str) -> None:
    found = checklist(State.REFUSED, None, TrustError(code, "because"), None)
    assert {key for key, state in states(found).items() if state == "fail"} == {name}
    assert next(item["text"] for item in found if item["name"] == name) == "because"


class Uplink:
    """The state of an uplink without one."""

    def __init__(self) -> None:
        self.state: State = State.DIALLING
        self.verdict = self.error = self.session = None

    @property
    def gone(self) -> bool:
        return self.state in (State.REFUSED, State.LOST, State.DEAD)


def standing(
    world: World | None = None, *, mode: str = "confidential", entry: str = "fair"
) -> tuple[Standing, Any, Any]:
    uplink: Any = Uplink()
    agreement = Agreement((lambda: agreed_to(world.contract, world.digest)) if world else None)
    events = Events(uplink, lambda *_: None, None, agreement, Rehearsals(lambda: Path("/nowhere")))
    return Standing(entry, mode, uplink, events, agreement), uplink, SimpleNamespace(events=events, agreement=agreement)


def release(number: int = 0) -> ReleaseFacts:
    return ReleaseFacts(
        release=f"r{number}", receipt="sha256:ab", charge_id="c", question="t: count", keys=(), measures=(), rows=(),
        cells=3, session="s", rho="1/100", costs=(), assurance="simulated", time="2026",
    )  # fmt: skip


def test_news_are_told_once() -> None:
    kernel, uplink, inside = standing(World())
    assert [message["type"] for message in kernel.news()] == ["status"]
    assert kernel.news() == []
    uplink.state, uplink.verdict = State.OPEN, verdict()
    assert [message["type"] for message in kernel.news()] == ["status"]
    for number in range(3):
        inside.events.verified.append(release(number))
        inside.events.released += 1
    told = kernel.news()
    assert [message["type"] for message in told] == ["status", "receipt", "receipt", "receipt"]
    assert [message["item"]["release"] for message in told[1:]] == ["r0", "r1", "r2"]
    assert kernel.news() == []


def test_contract_and_tables_come_with_the_cards() -> None:
    world = World()
    kernel, _, inside = standing(world)
    assert [message["type"] for message in kernel.all()] == ["status", "receipts"]
    inside.agreement.take_cards([msgspec.to_builtins(world.card)])
    contract = next(message for message in kernel.news() if message["type"] == "contract")
    assert kernel.news() == []
    assert contract in kernel.all()
    assert contract["digest"] == world.digest
    assert any("Allowed: aggregates" in line for line in contract["words"])
    (table,) = contract["tables"]
    assert (table["name"], table["tier"], table["unit"], table["rows_per_unit"]) == ("clinic.visits", 2, "patient", 1)
    assert table["columns"][2] == {"name": "bmi", "type": "decimal", "tier": 2, "about": "body mass index"}
    json.dumps(contract)


def test_cards_the_contract_does_not_pin_are_not_shown() -> None:
    _, _, inside = standing(World())
    for cards in ([], [msgspec.to_builtins(World().card)], ["x"], [{"payload": 1}]):
        with pytest.raises(CloisterError):
            inside.agreement.take_cards(cards)
        assert inside.agreement.message() is None


def test_another_contract_than_the_accepted_one_is_refused() -> None:
    world = World()
    assert agreed_to(world.contract, world.digest).contract == world.terms
    with pytest.raises(TrustError) as caught:
        agreed_to(World().contract, world.digest)
    assert caught.value.code == "trust.contract"


def test_only_the_last_receipts_are_listed_and_all_are_counted() -> None:
    kernel, _, inside = standing()
    for number in range(RECEIPTS_SHOWN + 5):
        inside.events.verified.append(release(number))
        inside.events.released += 1
    listed = next(message for message in kernel.all() if message["type"] == "receipts")
    assert listed["total"] == RECEIPTS_SHOWN + 5
    assert len(listed["items"]) == RECEIPTS_SHOWN
    assert listed["items"][-1]["release"] == f"r{RECEIPTS_SHOWN + 4}"


@pytest.mark.parametrize(
    ("state", "mode", "tone", "expected"),
    [
        (State.DIALLING, "confidential", "green", "grey"),
        (State.OPEN, "confidential", "green", "green"),
        (State.OPEN, "confidential", "amber", "amber"),
        (State.OPEN, "replay", "grey", "grey"),
        (State.OPEN, "replay", "red", "red"),
        (State.REFUSED, "confidential", "green", "red"),
        (State.LOST, "confidential", "green", "red"),
        (State.DEAD, "mock", "green", "red"),
    ],
)
def test_the_badge_is_green_only_for_a_session_that_lives(state: State, mode: str, tone: str, expected: str) -> None:
    kernel, uplink, _ = standing(mode=mode)
    uplink.state = state
    uplink.verdict = None if state is State.DIALLING else verdict(tone=tone)
    assert kernel.status()["tone"] == expected


def test_only_a_mock_kernel_can_be_promoted_and_to_its_own_twin() -> None:
    assert standing(mode="confidential")[0].status()["promote"] == ""
    assert standing(mode="mock")[0].status()["promote"] == "cloister-fair"
    assert promotes_to("demo") == "cloister"


def test_a_vault_that_died_is_an_error_the_page_sees() -> None:
    kernel, _, inside = standing()
    inside.events.vault = {"state": "died", "error": {"code": "vault.fault", "reason": "gone", "next_step": "wait"}}
    assert kernel.status()["error"] == {"code": "vault.fault", "reason": "gone", "clause": "", "next_step": "wait"}
    inside.events.vault = {"state": "died", "error": "what"}
    assert kernel.status()["error"] is None


PRIVACY = {
    "name": "privacy", "population": "p", "broker": "b", "spent": "1/3", "limit": "1", "analyst_spent": "0",
    "analyst_limit": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("reported", "names"),
    [
        ({"limits": [PRIVACY, {"name": "rows", "spent": 1, "limit": 2}], "time": "now"}, ["privacy", "rows"]),
        ({"limits": [{"name": "expiry", "not_after": "2027"}, {"name": "moon", "x": 1}], "time": ""}, ["expiry"]),
        ({"limits": [{**PRIVACY, "spent": 1}], "time": "now"}, None),
        ({"limits": [{"name": "rows", "spent": "1", "limit": 2}], "time": "now"}, None),
        ({"limits": [{"name": ["x"]}], "time": "now"}, None),
        ({"limits": "privacy", "time": "now"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_budget_that_is_none_is_shown_as_unknown(reported: Any, names: list[str] | None) -> None:
    found = budget_of(reported)
    assert (found and [limit["name"] for limit in found["limits"]]) == names


def test_a_broker_that_does_not_answer_hides_nothing_else() -> None:
    privacy = {"name": "privacy", "population": "clinic.patients", "broker": "broker", "limit": "1/2"}
    silent = {**privacy, "analyst_limit": "1/2", "error": {"code": "broker.unreachable", "reason": "no answer"}}
    found = budget_of({"limits": [silent, {"name": "models", "spent": 1, "limit": 2}], "time": "2026-11-21T00:00:00Z"})
    assert found is not None
    assert [limit["name"] for limit in found["limits"]] == ["silent", "models"]
    assert found["limits"][0]["reason"] == "no answer"


def test_what_the_guarantee_excludes_reaches_the_panel_and_the_line() -> None:
    """A budget that says less than the account would promise too much."""
    for said in ("deliver releases", ""):
        told = {"limits": [{**PRIVACY, **({"excludes": said} if said else {})}], "time": "2026-11-21T00:00:00Z"}
        found = budget_of(told)
        assert found is not None
        assert found["limits"][0]["excludes"] == said
        (limit,) = limits.limits(told)
        assert ("the formal guarantee excludes: deliver releases" in limit.words) == bool(said)


def test_the_mark_says_who_looks_and_under_which_contract_where_the_contract_asks() -> None:
    assert standing(World())[0].status()["display_mark"] == ""
    world = World(terms={"display_mark": True})
    kernel, uplink, _ = standing(world)
    assert kernel.status()["display_mark"] == "? · clinic"
    uplink.session = SimpleNamespace(analyst=world.analyst.did, session="s")
    mark = f"ann ({world.analyst.did[-8:]}) · clinic"
    assert kernel.status()["display_mark"] == mark
    uplink.session, uplink.state = None, State.LOST
    assert kernel.status()["display_mark"] == mark, "what was shown is still shown"
    assert standing(world, mode="mock")[0].status()["display_mark"] == "", "invented values are nobody's"
    pack = PackTerms("pboc-draft-2023", packs.load("pboc-draft-2023").digest)
    for terms in (pack, msgspec.structs.replace(pack, digest="sha256:" + "0" * 64)):
        assert mark_of(msgspec.structs.replace(world.terms, display_mark=msgspec.UNSET, pack=terms), world.analyst.did)
