"""The source of a cell is kept with the receipt where the tier rules want it: what was run, for who holds the keys."""

from __future__ import annotations

from typing import Any

import pytest
from mutants import mutated
from permit_world import document_of, make_world
from vault_world import World, context, plan

from cloister.contract import signing
from cloister.enclave.causes import DELIMITER, Causes
from cloister.errors import ContractError, TrustError, UnavailableError
from cloister.plan import algebra as a
from cloister.plan.link import Cause
from cloister.provider import sources
from cloister.provider.accounts import Accounts
from cloister.receipt import code
from cloister.vault import authorise
from cloister.vault.release import release
from cloister.wire import canonical

SOURCE = "cl.table('st_anna.visits').x1.mean()  # 均值"
CELL = Cause("cell", "m1", code.exact(SOURCE), code.normalised(SOURCE))
PACK = "pboc-draft-2023"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("sources"), importance="general")


def asked(world: World, state: Any, rho: str = "1/1000", **changes: Any) -> Any:
    return release(state, context(world, **changes), plan(a.Mean("m", a.Col("x1")), rho=rho))


def deposited(world: World, charge: str) -> str:
    ledger = Accounts(world.anna_home.accounts_file)
    try:
        return ledger.deposit(world.card.population, charge)
    finally:
        ledger.close()


def test_the_source_that_was_run_is_kept_for_who_holds_the_keys(world: World) -> None:
    document = document_of(world, PACK)
    state, _ = world.state(document)
    digest = signing.contract_digest(document)
    answer = asked(world, state, cause=CELL, source=SOURCE)
    sealed = deposited(world, answer.receipt.charge_id)
    assert sources.read(world.anna_home, sealed, digest, answer.receipt.charge_id) == SOURCE
    known = world.anna_home.contracts.get(digest)
    with pytest.raises(TrustError, match=r"source\.keys"):
        sources.source_of(sealed, known, answer.receipt.charge_id, [bytes(32)])
    with pytest.raises(UnavailableError, match=r"source\.none"):
        sources.read(world.anna_home, "", digest, "another")
    assert asked(world, state, cause=CELL, source=SOURCE).recalled


def test_without_the_text_that_was_run_nothing_is_charged(world: World) -> None:
    state, transport = world.state(document_of(world, PACK))
    wrong = ({"cause": CELL}, {"cause": CELL, "source": SOURCE + " "}, {"cause": Cause("comm", "m2"), "source": SOURCE})
    for changes in wrong:
        with pytest.raises(ContractError, match=r"contract\.source"):
            asked(world, state, "1/1001", **changes)
    assert "/v1/append" not in transport.posts
    with mutated(authorise, "code.exact(context.source) != context.cause.code", "False"):
        asked(world, state, "1/1001", cause=CELL, source="another text")


def test_other_contracts_keep_none(world: World) -> None:
    document = document_of(world)
    state, _ = world.state(document)
    answer = asked(world, state, cause=CELL, source=SOURCE)
    sealed = deposited(world, answer.receipt.charge_id)
    with pytest.raises(UnavailableError, match=r"source\.none"):
        sources.read(world.anna_home, sealed, signing.contract_digest(document), answer.receipt.charge_id)


def test_the_agent_knows_the_text_of_the_cell_that_asks() -> None:
    followed = Causes("session")
    header = canonical.encode({"msg_id": "m1", "msg_type": "execute_request"})
    frames = (DELIMITER, header, b"{}", b"{}", canonical.encode({"code": SOURCE}))
    followed.sent(frames, shell=True)
    cause, _ = followed.current()
    assert code.exact(followed.source_of(cause)) == cause.code
    assert followed.source_of(Cause("comm", "m1")) == ""
    assert followed.source_of(Cause("background")) == ""
    followed.idle("m1")
    assert followed.source_of(cause) == ""
