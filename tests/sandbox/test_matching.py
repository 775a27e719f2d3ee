"""``cl.match``: ordinary answers that say they are exact and outside the guarantee; nothing else may be asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[1] / "vault"))

import match_world as vaults
from match_checks import key, size
from vault_world import World, context

import cloister as cl
from cloister.contract.exits import MatchTerms
from cloister.errors import CloisterError, PlanError
from cloister.plan import codec
from cloister.plan.link import Request
from cloister.receipt import naming
from cloister.sandbox import matching as api
from cloister.sandbox import session as sessions
from cloister.sandbox.session import Session
from cloister.vault import exits
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.config import open_config
from cloister.vault.engine import Engine
from cloister.vault.mock import MockVault, mock_table
from cloister.wire import canonical

PERSON = "st_anna.watched.person"


class Peer:
    """A vault in this process; it notes the plans it is asked."""

    def __init__(self, operations: Any, world: World) -> None:
        self._operations, self._world = operations, world
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.forwarded: list[Any] = []

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append((op, plan))
        answered = self._operations[op](context(self._world), Request(1, op, plan))
        self.forwarded += [*answered.receipts, *answered.rehearsals]
        canonical.encode(answered.result)
        return answered.result


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return vaults.make_world(tmp_path_factory.mktemp("match"))


def peer_of(world: World, *clauses: MatchTerms) -> Peer:
    state, _, _ = vaults.vault(world, *clauses)
    peer = Peer(ConfidentialVault(state).operations(), world)
    sessions.use(Session(peer))
    return peer


@pytest.fixture
def peer(world: World) -> Iterator[Peer]:
    yield peer_of(world)
    sessions.use(None)


def test_one_key_gives_one_answer_that_says_what_it_is(peer: Peer) -> None:
    found = cl.match(PERSON, key(3))
    assert found
    assert found == True  # noqa: E712 (as code in notebooks compares)
    assert repr(found).startswith("True")
    assert "exact, outside the formal guarantee" in repr(found)
    assert not cl.match("watched.flagged", key(4))
    assert "False" in repr(cl.match(PERSON, "nobody"))
    assert len(found.facts.receipts) == 1


def test_a_list_gives_a_series_of_bool_with_its_keys(peer: Peer) -> None:
    found = cl.match("st_anna.watched.category", [key(n) for n in range(20)])
    assert found.dtype == bool
    assert found[found].index.tolist() == [key(n) for n in (0, 5, 10, 15)]
    assert found.name == "category"
    assert "(match of 20 units in st_anna.watched.category: exact, outside the formal guarantee)" in repr(found)
    assert type(~found) is pd.Series
    assert "guarantee" not in repr(~found)
    assert len(peer.forwarded) == 1


def test_a_series_keeps_its_index_and_doubles_are_asked_once(peer: Peer) -> None:
    mine = pd.DataFrame({"person": [key(1), None, key(999), key(1), "", np.nan]}, index=list("abcdef"))
    found = cl.match(PERSON, mine["person"])
    assert found.index.tolist() == list("abcdef")
    assert found.tolist() == [True, False, False, True, False, False]
    assert peer.asked[-1][1]["targets"] == (key(1), key(999)) or peer.asked[-1][1]["targets"] == [key(1), key(999)]
    assert mine[found]["person"].tolist() == [key(1), key(1)]


def test_plain_keys_are_refused_where_keys_are_hashed_and_it_is_said_how_to_hash_them(peer: Peer) -> None:
    cards = sessions.current().about.cards
    cards[vaults.TABLE] = msgspec.structs.replace(cards[vaults.TABLE], hashed="sha256:" + "0" * 64)
    asked = len(peer.asked)
    for ask in (cl.match, cl.match.cost):
        for keys in (key(3), ["0" * 32, key(3)]):
            with pytest.raises(PlanError) as refused:
                ask(PERSON, keys)
            assert refused.value.code == "match.hashed"
            assert "cloister unit-keys hash" in refused.value.next_step
    assert len(peer.asked) == asked
    assert cl.match.cost(PERSON, ["0" * 32, None]).targets == 1


def test_keys_that_no_row_can_have_are_false_and_nothing_is_asked(peer: Peer, world: World) -> None:
    before = size(world)
    for nothing in (None, "", "  ", float("nan"), pd.NA):
        assert not cl.match(PERSON, nothing)
    assert cl.match(PERSON, ["\ud800", None]).tolist() == [False, False]
    assert cl.match(PERSON, []).tolist() == []
    assert size(world) == before
    assert [op for op, _ in peer.asked] == ["describe"]


def test_numbers_are_keys_as_text() -> None:
    assert [api._text(one) for one in (7, np.int64(7), 7.0, "007", 2**70)] == ["7", "7", "7", "007", str(2**70)]
    assert api._text("x" * 999) == "x" * 256


def test_a_number_that_may_be_rounded_is_no_key() -> None:
    exact = 2**53 + 1
    assert api._text(exact) == api._text(np.int64(exact)) == str(exact)
    assert api._text(2.0**53 - 1) == str(2**53 - 1)
    assert api._text(np.float32(7)) == "7"
    for rounded in (*pd.Series([exact, None]).dropna().tolist(), 2.0**53, -(2.0**60), np.float32(2**24)):
        with pytest.raises(CloisterError) as caught:
            api._text(rounded)
        assert caught.value.code == "api.match"
        assert "Int64" in caught.value.next_step
        assert str(int(rounded)) not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([2**53 + 1, None]),
        pd.Series([2**24 + 1], dtype="float32"),
        np.array([2**24 + 1], dtype="float32"),
        [1.0, 2.0**53],
    ],
)
def test_ids_that_pandas_rounded_are_refused_and_nothing_is_asked(peer: Peer, keys: Any) -> None:
    with pytest.raises(PlanError) as caught:
        cl.match(PERSON, keys)
    assert caught.value.code == "api.match"
    assert "Int64" in caught.value.next_step
    assert [op for op, _ in peer.asked] == ["describe"]


def test_whole_numbers_of_any_size_are_asked_as_they_are() -> None:
    wide = 2**53 + 1
    for keys in (pd.Series([wide, None], dtype="Int64"), pd.Series([wide]), [wide], np.array([wide])):
        assert api._text(api._given(keys)[0][0]) == str(wide)
    assert api._text(np.float32(7)) == "7"


def test_a_refusal_names_no_key() -> None:
    with pytest.raises(PlanError) as caught:
        api._text(b"secret-of-ada")
    assert "secret" not in str(caught.value)
    assert caught.value.reason == "a bytes is no unit key"


def test_a_large_batch_travels_in_parts() -> None:
    terms = MatchTerms("t", "c", 1, 1)
    plans = list(api._plans(terms, [f"{n}" for n in range(45_000)] * 2))
    assert [len(plan.targets) for plan in plans] == [20_000, 20_000, 5_000]
    wide = list(api._plans(terms, [f"{n:0256d}" for n in range(3_000)]))
    assert len(wide) > 1
    for plan in (*plans, *wide):
        codec.decode_exit({"op": "match", "table": "t", "column": "c", "targets": list(plan.targets), "version": 1})


def test_the_price_is_no_budget_and_asks_nothing(peer: Peer, world: World) -> None:
    before = size(world)
    cost = cl.match.cost(PERSON, [key(1), key(2), key(1)])
    assert (cost.targets, cost.requests, cost.per_contract, cost.per_target) == (2, 1, 1000, 30)
    assert cost.usage.rows == world.card.row_limit
    assert "privacy budget: nothing" in repr(cost)
    assert "outside the formal guarantee" in repr(cost)
    assert size(world) == before


def test_repeating_is_free_and_the_asker_can_open_the_commitment(peer: Peer, world: World) -> None:
    first = cl.match(PERSON, [key(1), key(2)])
    before = size(world)
    again = cl.match(PERSON, [key(1), key(2)])
    assert (again.facts.recalled, first.facts.recalled) == (True, False)
    assert size(world) == before
    plan, answered = first.facts.parts[0]
    import base64

    assert naming.commitment(base64.b64decode(answered.salt), codec.canonical_exit(plan)) == answered.commitment


@pytest.mark.parametrize(
    ("column", "keys", "code"),
    [
        ("st_anna.watched.year", "x", "exit.match"),
        ("st_anna.visits.person", "x", "exit.match"),
        ("person", "x", "exit.match"),
        (7, "x", "api.match"),
        (PERSON, {"a": 1}, "api.match"),
        (PERSON, True, "api.match"),
        (PERSON, [b"x"], "api.match"),
        (PERSON, pd.DataFrame({"a": ["x"]}), "api.match"),
        (PERSON, np.array([["x"]]), "api.match"),
    ],
)
def test_mistakes_are_explained(peer: Peer, column: Any, keys: Any, code: str) -> None:
    with pytest.raises(CloisterError) as caught:
        cl.match(column, keys)
    assert caught.value.code == code
    assert caught.value.next_step
    assert [op for op, _ in peer.asked] == ["describe"]


def test_limits_are_told_by_their_clause(world: World) -> None:
    peer_of(world, MatchTerms(vaults.TABLE, "person", 2, 1))
    cl.match(PERSON, key(1))
    for keys, code in (([key(2), key(3)], "limit.match"), (key(1).lower(), "limit.target")):
        with pytest.raises(CloisterError) as caught:
            cl.match(PERSON, keys)
        assert caught.value.code == code
        assert "exits.matches" in caught.value.clause
    sessions.use(None)


def test_a_match_that_stops_half_way_says_how_many_were_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_TARGETS", 2)
    peer_of(world, MatchTerms(vaults.TABLE, "person", 3, 1))
    with pytest.raises(CloisterError) as caught:
        cl.match(PERSON, [key(1), key(2), key(3), key(4)])
    assert caught.value.code == "limit.match"
    assert "2 of 4 units were asked before this and count" in caught.value.reason
    assert cl.match(PERSON, [key(1), key(2)]).facts.recalled
    with pytest.raises(CloisterError) as caught:
        cl.match(PERSON, [key(5), key(6)])
    assert "were asked before" not in caught.value.reason
    sessions.use(None)


def test_a_contract_without_a_clause_says_so(world: World) -> None:
    state, _ = world.state(world.sign(world.contract()))
    sessions.use(Session(Peer(ConfidentialVault(state).operations(), world)))
    with pytest.raises(CloisterError) as caught:
        cl.match(PERSON, "x")
    assert caught.value.code == "exit.match"
    assert "Ask the data providers" in caught.value.next_step
    sessions.use(None)


def test_a_rehearsal_shows_a_commitment_that_hides(world: World) -> None:
    """Made under a secret of this mock vault alone: no guess of the plan, by a known or another's secret, fits."""
    terms = open_config(canonical.encode(world.config(vaults.contract(world), mode="mock")))
    request = Request(1, "release", vaults.inquiry(key(3)))
    one, other = (MockVault(terms, Engine(1)).operations()["release"] for _ in range(2))
    first, again, second = (op(context(world), request).result for op in (one, one, other))
    assert (first["commitment"], first["salt"]) == (again["commitment"], again["salt"])
    assert first["commitment"] != second["commitment"] and first["salt"] != second["salt"]
    plan = codec.decode_exit(vaults.inquiry(key(3)))
    allowed = exits.allow(plan, context(world), terms)
    known = exits.name_exit(plan, allowed, bytes(32), analyst=context(world).analyst, terms=terms)
    assert first["commitment"] != known.plan_digest


def test_a_mock_kernel_answers_from_invented_rows(world: World) -> None:
    terms = open_config(canonical.encode(world.config(vaults.contract(world), mode="mock")))
    peer = Peer(MockVault(terms, Engine(1)).operations(), world)
    sessions.use(Session(peer))
    invented = mock_table(world.card).column("person")[0].as_py()
    found = cl.match(PERSON, [invented, "nobody at all"])
    assert found.tolist() == [True, False]
    assert "MOCK" in repr(found)
    assert found.facts.receipts == ()
    rehearsed = peer.forwarded[0]
    assert "outside the formal guarantee" in rehearsed.question
    assert invented not in repr(rehearsed)
    assert rehearsed.costs == ()
    sessions.use(None)
