"""Column groups by rights, several tables in a capsule: a vault gets keys of what its contract covers, no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from vault_world import World, all_keys, context, every, numbered, plan, visits, visits_card

from cloister.contract import capsule_keys, lint
from cloister.contract.card import Column
from cloister.contract.clauses import Access, Approver, RowLimit
from cloister.contract.coverage import covered
from cloister.contract.exits import Exits, MatchTerms
from cloister.contract.terms import Budget, TableTerms
from cloister.errors import RefusedError, TrustError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.provider import data_keys as provider_keys
from cloister.provider import seal as sealing
from cloister.provider.seal import column_groups
from cloister.vault.capsules import open_capsule
from cloister.vault.release import release
from cloister.wire.identity import SigningKey

TABLE = "st_anna.visits"
GENOME = Exits(matches=(MatchTerms(TABLE, "genome", 10, 1),))
DOCTOR = Approver("dr", SigningKey.generate().did, "st_anna")


def sessions(world: World, document: Any = None, **changes: Any) -> Any:
    """Return the keys a vault holds after its first release, by table, and its state."""
    state, _ = world.state(document, **changes)
    answer = release(state, context(world), numbered(1))
    assert answer.receipt.raw
    return state.brokers.session(state.terms.broker_of(TABLE)).table_keys, state


# What a contract covers --------------------------------------------------------------------------------


def test_columns_of_equal_rights_are_together() -> None:
    card = visits_card()
    assert column_groups(card) == (("patient",), ("age", "sex", "cost"), ("genome",))
    assert column_groups(card, [["cost", "genome"]]) == (("patient",), ("age", "sex"), ("cost",), ("genome",))


@pytest.mark.parametrize("apart", [[["genom"]], [["patient"]], [["cost", "genome"], ["cost"]]], ids=str)
def test_what_is_set_apart_is_a_column_and_in_one_set(apart: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"seal\.column. set apart"):
        sealing.seal(visits_card(), pa.table({}), tmp_path / "capsule", SigningKey.generate(), apart=apart)


def test_what_is_covered_follows_from_contract_and_card(quiet_world: World) -> None:
    card = quiet_world.card
    free = {"patient", "age", "sex", "cost"}
    ada = Access("ada", TABLE, ("age",))
    bob = Access("bob", TABLE, ("sex", "genome"), rows=(RowLimit("cost", low="1"),))
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, free),
        ({"exits": GENOME}, {*free, "genome"}),
        ({"approvers": (DOCTOR,)}, {*free, "genome"}),
        ({"approvers": (msgspec.structs.replace(DOCTOR, provider="bank"),)}, free),
        ({"access": (ada,)}, {"patient", "age"}),
        ({"access": (ada, bob)}, {"patient", "age", "sex", "cost"}),
        ({"access": (Access("ada", "bank.customers", ("income",)),)}, set()),
        ({"access": (Access("ada", TABLE, ("genome",)),)}, set()),
    ]
    for changes, columns in cases:
        assert covered(quiet_world.contract(**changes), card) == columns, changes


# What a vault holds ------------------------------------------------------------------------------------


def test_a_contract_that_does_not_use_a_group_gives_its_vault_no_key_of_it(quiet_world: World) -> None:
    sealed, card = quiet_world.visits, quiet_world.card
    held, state = sessions(quiet_world)
    everything = all_keys(sealed, TABLE)
    assert held[TABLE].groups == {number: everything.groups[number] for number in (0, 1)}
    assert everything.groups[2] not in {*held[TABLE].groups.values(), held[TABLE].secret}
    # What it holds opens nothing of the other group, whatever it tries.
    manifest = _manifest(sealed)
    for key in (*held[TABLE].groups.values(), held[TABLE].secret):
        with pytest.raises(TrustError, match=r"capsule\.key"):
            capsule_keys.open_box(key, manifest, TABLE, 2)
    assert state.engine.rows(lambda names: (f"SELECT count(c4), count(*) FROM {names[TABLE]}", {})) == [(0, 600)]
    table = open_capsule(
        sealed.directory, state.terms.tables[TABLE], quiet_world.anna.did, card, held[TABLE],
        columns=covered(state.terms.contract, card),
    )  # fmt: skip
    assert table["genome"].null_count == card.row_limit
    assert table.select(["patient", "age"]).filter(pa.compute.is_valid(table["patient"])).to_pylist() == (
        visits().select(["patient", "age"]).to_pylist()
    )


def test_a_contract_that_uses_the_group_gives_its_vault_the_key(quiet_world: World) -> None:
    held, state = sessions(quiet_world, quiet_world.sign(quiet_world.contract(approvers=(DOCTOR,))))
    assert held[TABLE] == all_keys(quiet_world.visits, TABLE)
    assert state.engine.rows(lambda names: (f"SELECT count(c4) FROM {names[TABLE]}", {})) == [(600,)]


def test_a_broker_that_sends_no_key_for_what_is_covered(quiet_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = provider_keys.coverage.covered
    monkeypatch.setattr(provider_keys.coverage, "covered", lambda *of: real(*of) - {"age", "sex", "cost"})
    state, transport = quiet_world.state()
    with pytest.raises(TrustError, match=r"capsule\.key"):
        release(state, context(quiet_world), numbered(1))
    assert "/v1/append" not in transport.posts


def test_what_a_broker_sends_beyond_the_contract_is_not_read(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_keys.coverage, "covered", lambda _contract, card: every(card))
    _, state = sessions(quiet_world)
    assert state.engine.rows(lambda names: (f"SELECT count(c4) FROM {names[TABLE]}", {})) == [(0,)]


def test_keys_of_groups_tables_and_capsules_are_all_different(quiet_world: World) -> None:
    found = [
        *all_keys(quiet_world.visits, TABLE).groups.values(),
        all_keys(quiet_world.visits, TABLE).secret,
        capsule_keys.group_key(quiet_world.visits.data_key, "st_anna.other", 0),
        capsule_keys.table_secret(quiet_world.visits.data_key, "st_anna.other"),
        *all_keys(quiet_world.customers, "bank.customers").groups.values(),
        quiet_world.visits.data_key,
    ]
    assert len(set(found)) == len(found) == 9


# Several tables ----------------------------------------------------------------------------------------


def stays_card() -> Any:
    columns = (
        Column("patient", "string", 2, "Patient"),
        Column("days", "int", 3, "Days", low="0", high="30", step="1"),
    )
    return visits_card(name="st_anna.stays", columns=columns, rows_per_unit=1, row_limit=512)


def stays(rows: int = 250) -> pa.Table:
    return pa.table({"patient": [f"p{i:04d}" for i in range(rows)], "days": [3] * rows})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[SigningKey, sealing.Sealed]:
    key = SigningKey.generate()
    out = tmp_path_factory.mktemp("both") / "capsule"
    return key, sealing.seal_tables([(visits_card(), visits()), (stays_card(), stays())], out, key)


def served(world: World, sealed: sealing.Sealed, *names: str) -> dict[str, Any]:
    """Return the configuration of a vault under a contract with tables of one capsule."""
    digests = {one.card.name: one.digest for one in sealed.tables}
    contract = world.contract(
        tables=tuple(
            TableTerms(name, "st_anna", "anna-broker", digests[name], sealed.manifest_digest) for name in names
        ),
        budgets=(Budget(world.card.population, "anna-broker", "8", "1/1000000", "0.02"),),
        brokers=world.contract().brokers[:1],
        policies={"anna-broker": world.contract().policies["anna-broker"]},
    )
    cards = [json.loads((sealed.directory / name).read_text()) for name in ("card.json", "card-1.json")]
    return world.config(world.sign(contract), cards=cards, capsules={sealed.manifest_digest: str(sealed.directory)})


def test_two_tables_of_one_capsule_are_asked_and_aligned(
    quiet_world: World, both: tuple[SigningKey, sealing.Sealed], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, sealed = both
    monkeypatch.setattr(quiet_world, "anna", key)
    quiet_world.anna_home.add_capsule(sealed)
    state, _ = quiet_world.state(**served(quiet_world, sealed, TABLE, "st_anna.stays"))
    mine = context(quiet_world)
    days = a.VectorSum(a.Table("st_anna.stays"), (a.Count("n"), a.Sum("days", a.Col("days"))), "1/10")
    receipts = [release(state, mine, plan(rho="1/10")).receipt, release(state, mine, codec.encode(days)).receipt]
    assert [receipt.manifests for receipt in receipts] == [(sealed.manifest_digest,)] * 2
    assert [receipt.cards for receipt in receipts] == [(one.digest,) for one in sealed.tables]
    assert abs(int(receipts[0].raw[0]) - 600) < 100
    assert abs(int(receipts[1].raw[0]) - 250) < 50
    held = state.brokers.session(state.terms.broker_of(TABLE)).table_keys
    assert held["st_anna.stays"] == all_keys(sealed, "st_anna.stays")
    per_unit = tuple(
        a.PerUnit(a.Table(name), (a.UnitMeasure(column, "sum", a.Col(column)),))
        for name, column in ((TABLE, "cost"), ("st_anna.stays", "days"))
    )
    together = codec.encode(a.VectorSum(a.Align(*per_unit, "inner", (("days", "days"),)), (a.Count("n"),), "1/10"))
    receipt = release(state, mine, together).receipt
    assert receipt.manifests == (sealed.manifest_digest,)
    assert len(receipt.cards) == 2
    assert abs(int(receipt.raw[0]) - 250) < 50, "patients with a stay"


def test_a_contract_with_one_table_of_a_capsule_gets_no_key_of_the_others(
    quiet_world: World, both: tuple[SigningKey, sealing.Sealed], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, sealed = both
    monkeypatch.setattr(quiet_world, "anna", key)
    quiet_world.anna_home.add_capsule(sealed)
    held, _ = sessions(quiet_world, **served(quiet_world, sealed, TABLE))
    assert set(held) == {TABLE}
    manifest, stays_keys = _manifest(sealed), all_keys(sealed, "st_anna.stays")
    for one in (*held[TABLE].groups.values(), held[TABLE].secret):
        assert one not in {*stays_keys.groups.values(), stays_keys.secret}
        for group in stays_keys.groups:
            with pytest.raises(TrustError, match=r"capsule\.key"):
                capsule_keys.open_box(one, manifest, "st_anna.stays", group)
    with pytest.raises(TrustError, match=r"capsule\.key"):
        capsule_keys.check_secret(held[TABLE].secret, manifest, "st_anna.stays")


def test_parts_of_two_tables_of_a_capsule_cannot_change_places(
    both: tuple[SigningKey, sealing.Sealed], tmp_path: Path
) -> None:
    import shutil

    key, sealed = both
    folder = tmp_path / "capsule"
    shutil.copytree(sealed.directory, folder)
    shutil.copy(sealed.directory / "part-1-0-0.parquet", folder / "part-0-0-0.parquet")
    card = visits_card()
    terms = TableTerms(TABLE, "p", "b", sealed.card_digest, sealed.manifest_digest)
    with pytest.raises(TrustError, match=r"capsule\.part"):
        open_capsule(folder, terms, key.did, card, all_keys(sealed, TABLE), columns=every(card))


def test_a_contract_may_name_tables_of_one_capsule_but_not_a_capsule_of_two_brokers(quiet_world: World) -> None:
    first, second = quiet_world.contract().tables
    shared = msgspec.structs.replace(second, provider=first.provider, broker=first.broker, manifest=first.manifest)
    torn = msgspec.structs.replace(second, manifest=first.manifest)
    twice = msgspec.structs.replace(shared, card=first.card)
    for other, wrong in ((shared, 0), (torn, 1), (twice, 1)):
        found = [f.code for f in lint.contract_findings(quiet_world.contract(tables=(first, other)))]
        assert found.count("contract.duplicate") == wrong


def _manifest(sealed: sealing.Sealed) -> Any:
    from cloister.contract.capsule import Manifest
    from cloister.wire.envelope import Envelope, unverified_payload

    document = msgspec.json.decode((sealed.directory / "manifest.json").read_bytes(), type=Envelope)
    return msgspec.json.decode(unverified_payload(document), type=Manifest)
