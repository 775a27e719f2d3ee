"""Unit keys hashed at seal: no key in the capsule's plaintext, and tables align under one salt only."""

from __future__ import annotations

import base64
import csv
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import match_world
import msgspec
import pyarrow as pa
import pytest
from mutants import mutated
from typer.testing import CliRunner
from vault_world import World, all_keys, every

from cloister.contract import card_lint, lint, mock
from cloister.contract.card import Card
from cloister.contract.exits import Exits, Receiver
from cloister.contract.terms import TableTerms
from cloister.contract.unit_keys import hashed_key, is_hashed, key_bytes, unit_hash, unit_salt
from cloister.errors import CloisterError, MalformedError, PlanError, RefusedError, TrustError, UnavailableError
from cloister.plan import algebra as a
from cloister.plan.typing import infer
from cloister.provider import hashed_keys
from cloister.provider import seal as sealing
from cloister.provider.hashed_keys import Salt, create_salt, hash_keys, hash_list, read_salt
from cloister.provider.unit_keys_commands import app
from cloister.receipt import delivery
from cloister.receiver import opening
from cloister.vault import canonical, deliver, match
from cloister.vault.analyse import analyse
from cloister.vault.capsules import open_capsule
from cloister.vault.engine import Engine
from cloister.wire import canonical as encoding
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

KEY = SigningKey.generate()
SALT = Salt(b"s" * 32, hashed_keys.salt_id(b"s" * 32))
OTHER = Salt(b"o" * 32, hashed_keys.salt_id(b"o" * 32))


def watched(salt: Salt | None = SALT, **changes: Any) -> Card:
    return match_world.watched_card(**({"hashed": salt.id} if salt else {}), **changes)


def hashed(number: int, salt: Salt = SALT) -> str:
    """Return what stands in a capsule for a person of the watch list."""
    name = match_world.NAME.format(number)
    return hashed_key(name, salt.secret, unit="person", part=0, normaliser="ascii-lower-strip")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> sealing.Sealed:
    out = tmp_path_factory.mktemp("sealed") / "capsule"
    return sealing.seal(watched(), match_world.watched(), out, KEY, salt=SALT)


def plaintext(one: sealing.Sealed, card: Card) -> pa.Table:
    """Return what a vault reads of a capsule."""
    terms = TableTerms(card.name, "p", "b", one.card_digest, one.manifest_digest)
    return open_capsule(one.directory, terms, KEY.did, card, all_keys(one, card.name), columns=every(card))


def test_no_key_is_in_the_plaintext_and_the_salt_is_nowhere(sealed: sealing.Sealed) -> None:
    table = plaintext(sealed, watched())
    keys = {key for key in table["person"].to_pylist() if key is not None}
    assert keys == {hashed(number) for number in range(match_world.LISTED)}
    assert all(map(is_hashed, keys))
    everything = str(table.to_pydict())
    assert not any(match_world.NAME.format(number) in everything for number in range(match_world.LISTED))
    stored = b"".join(path.read_bytes() for path in sealed.directory.iterdir())
    assert SALT.secret not in stored
    card = msgspec.json.decode((sealed.directory / "card.json").read_bytes(), type=Envelope)
    assert SALT.id.encode() in base64.b64decode(card.payload)
    assert sealed.report.null_keys == 0


def test_spellings_of_one_key_are_one_hash_and_no_key_stays_none(tmp_path: Path) -> None:
    rows = {"flagged": [True] * 4, "category": ["debt"] * 4, "year": [2020] * 4}
    table = pa.table({"person": ["Ann ", "ann", "", None], **rows})
    one = sealing.seal(watched(), table, tmp_path / "capsule", KEY, salt=SALT)
    first, second, *others = plaintext(one, watched())["person"].to_pylist()
    assert first == second
    assert is_hashed(first)
    assert set(others) == {None}
    assert one.report.null_keys == 2


def test_hashes_differ_by_salt_unit_and_part() -> None:
    said = {"unit": "person", "part": 0, "normaliser": "exact"}
    hashes = [
        hashed_key("ann", SALT.secret, **said),
        hashed_key("ann", OTHER.secret, **said),
        hashed_key("ann", SALT.secret, **{**said, "unit": "patient"}),
        hashed_key("ann", SALT.secret, **{**said, "part": 1}),
        hashed_key("Ann", SALT.secret, **said),
    ]
    assert len(set(hashes)) == len(hashes)
    long = "x" * 300
    assert hashed_key(long, SALT.secret, **said) == hashed_key(long[:256], SALT.secret, **said)


@pytest.mark.parametrize(
    ("card", "salt", "step"),
    [(watched(), None, "--hash-keys"), (watched(None), SALT, SALT.id), (watched(), OTHER, "other providers")],
)
def test_a_table_is_sealed_as_its_card_says_or_not_at_all(
    card: Card, salt: Salt | None, step: str, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError) as refused:
        sealing.seal(card, match_world.watched(), tmp_path / "capsule", KEY, salt=salt)
    assert refused.value.code == "seal.salt"
    assert step in refused.value.next_step
    assert not (tmp_path / "capsule").exists()


# Alignment -----------------------------------------------------------------------------------------------------


def engine(cards: list[tuple[Card, list[int], Salt | None]]) -> tuple[Engine, dict[str, Card]]:
    """Return an engine with a table per card, of the persons of these numbers."""
    made = Engine(1)
    for card, numbers, salt in cards:
        rows = pa.table({"person": [match_world.NAME.format(n) for n in numbers], "year": [2020] * len(numbers)})
        table = rows if salt is None else hashed_keys.hash_keys(card, _padded(rows), salt)
        table = table.set_column(0, "person", table["person"].cast(pa.string()))
        made.load(card.name, card, table, b"secret", b"contract")
    return made, {card.name: card for card, _, _ in cards}


def _padded(rows: pa.Table) -> pa.Table:
    data = [text.encode().ljust(32, b"\0") for text in rows["person"].to_pylist()]
    return rows.set_column(0, "person", pa.array(data, pa.binary(32)))


def named(name: str, salt: Salt | None) -> Card:
    columns = tuple(column for column in watched().columns if column.name in {"person", "year"})
    return watched(salt, name=name, population=name, columns=columns, rows_per_unit=1)


def both(how: str = "align") -> a.VectorSum:
    left, right = a.Table("p.a"), a.Table("p.b")
    source: a.Relation = a.Align(left, right, "inner", (("year", "y"),)) if how == "align" else a.Stack((left, right))
    return a.VectorSum(source, (a.Units("n"),), "1")


def test_tables_under_one_salt_align_and_stack_by_unit() -> None:
    made, cards = engine([
        (named("p.a", SALT), [1, 2, 3, 4], SALT), (named("p.b", SALT), [3, 4, 5], SALT),
    ])  # fmt: skip
    assert made.run(analyse(both(), cards)).values == (2,)
    assert made.run(analyse(both("stack"), cards)).values == (5,)


@pytest.mark.parametrize("how", ["align", "stack"])
@pytest.mark.parametrize(
    ("left", "right", "word"), [(SALT, OTHER, "different salts"), (SALT, None, "were not"), (None, SALT, "were not")]
)
def test_tables_align_only_if_both_are_hashed_under_one_salt(
    how: str, left: Salt | None, right: Salt | None, word: str
) -> None:
    cards = {"p.a": named("p.a", left), "p.b": named("p.b", right)}
    with pytest.raises(PlanError) as refused:
        analyse(both(how), cards)
    assert refused.value.code == "plan.keys"
    assert word in refused.value.reason
    assert "salt file" in refused.value.next_step


def test_plain_keys_under_a_card_that_says_hashed_belong_to_nobody() -> None:
    made, cards = engine([(named("p.a", SALT), [1, 2, 3], None), (named("p.b", SALT), [2, 3], SALT)])
    assert made.run(analyse(both("stack"), cards)).values == (2,)


# Deliver -------------------------------------------------------------------------------------------------------


def header_of(salt: Salt | None) -> delivery.Header:
    """Return the header a vault gives a delivery about a table with hashed keys, or with plain ones."""
    card = named("p.a", salt)
    schema = infer(a.Table("p.a"), {"p.a": card})
    receiver = Receiver("bureau", base64.b64encode(bytes(range(32))).decode())
    terms = SimpleNamespace(
        mode="confidential", digest="sha256:0", contract=SimpleNamespace(outside=Exits((receiver,)))
    )
    plan = a.Deliver(a.Table("p.a"), a.Col("year"), "1", "bureau")
    return deliver._header(plan, SimpleNamespace(charge_id="c"), terms, schema, schema.grid("year"))  # type: ignore[arg-type]


def test_a_delivery_says_under_which_salt_its_keys_were_hashed() -> None:
    assert header_of(SALT).salt_id == SALT.id
    assert header_of(None).salt_id == ""
    assert b"hashed" not in encoding.encode(header_of(None)), "the headers of all others keep their bytes"


def test_plain_keys_do_not_silently_match_nothing_in_a_delivery_by_hashed_ones(tmp_path: Path) -> None:
    header, keys = header_of(SALT), tmp_path / "mine.csv"
    salt = unit_salt(header.unit, header.kinds, header.normaliser, header.contract.encode())
    unit = unit_hash(salt, key_bytes((hashed(3),), header.kinds, header.normaliser))
    opened = opening.Opened(header, (delivery.Row(unit, None),), "")
    keys.write_text(f"person\n{hashed(3)}\n{hashed(4)}\n")
    text, words = opening.join(opened, keys)
    assert text.splitlines()[1:] == [f"{hashed(3)},"] and words.startswith("1 of your 2 keys")
    keys.write_text(f"person\n{hashed(3)}\n{match_world.NAME.format(4)}\n")
    with pytest.raises(MalformedError) as refused:
        opening.join(opened, keys)
    assert refused.value.code == "receiver.hashed"
    assert SALT.id in refused.value.clause and "unit-keys hash" in refused.value.next_step
    # Where keys were not hashed, whatever stands in a file is a key.
    assert "of your 2 keys" in opening.join(opened._replace(header=header_of(None)), keys)[1]


# Match ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    patch = pytest.MonkeyPatch()
    plain = sealing.seal
    patch.setattr(
        sealing, "seal", lambda card, *rest, **more: plain(card, *rest, **more, salt=SALT if card.salt_id else None)
    )
    made = World(tmp_path_factory.mktemp("hashed"), card=watched(), data=match_world.watched(), serve=False)
    patch.undo()
    return made


def test_a_match_takes_hashed_keys(world: World) -> None:
    state, _, _ = match_world.vault(world)
    numbers = (3, 7, match_world.LISTED + 1)
    keys = [hashed(number) for number in numbers]
    assert match_world.bits(state, world, *keys) == tuple(map(match_world.listed, numbers))
    assert match_world.bits(state, world, *keys, column="flagged") == tuple(map(match_world.flagged, numbers))
    assert not any(match_world.bits(state, world, *(hashed(number, OTHER) for number in numbers)))


def test_a_match_with_plain_keys_is_refused_before_it_is_charged(world: World) -> None:
    state, transport, _ = match_world.vault(world)
    for keys in (["N000000000003"], [hashed(3), "N000000000003"], [hashed(3).upper()]):
        with pytest.raises(PlanError) as refused:
            match_world.ask(state, world, *keys)
        assert refused.value.code == "match.hashed"
        assert "cloister unit-keys hash" in refused.value.next_step
        assert "N0000" not in str(refused.value)
    assert "/v1/append" not in transport.posts


def test_the_providers_commands_make_a_salt_and_hash_a_list(tmp_path: Path) -> None:
    runner, salt = CliRunner(), tmp_path / "keys.salt"
    first, second = (runner.invoke(app, ["salt", str(salt)]) for _ in range(2))
    assert first.stdout == second.stdout
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", first.stdout)
    drawn = read_salt(salt)
    assert drawn.id == first.stdout.strip()
    assert repr(drawn.secret) not in repr(drawn)
    card = tmp_path / "card.json"
    card.write_bytes(msgspec.json.encode(watched(drawn)))
    (tmp_path / "mine.csv").write_text("name,person\nAnn,n000000000003 \nBob,\n")
    arguments = ["hash", str(card), str(tmp_path / "mine.csv"), "--salt", str(salt)]
    done = runner.invoke(app, [*arguments, "--out", str(tmp_path / "hashed.csv")])
    assert done.exit_code == 0, done.output
    with (tmp_path / "hashed.csv").open() as file:
        assert list(csv.reader(file)) == [["name", "person"], ["Ann", hashed(3, drawn)], ["Bob", ""]]
    again = runner.invoke(app, [*arguments, "--out", str(tmp_path / "hashed.csv")])
    assert isinstance(again.exception, CloisterError)


def test_keys_are_hashed_once_and_all_of_them(tmp_path: Path) -> None:
    """A hash of a hash aligns with nothing; a second column of one name would have left plain keys in the list."""
    drawn = create_salt(tmp_path / "keys.salt")
    card = watched(drawn)
    with pytest.raises(CloisterError) as refused:
        list(hash_list(card, f"person\n{hashed(3, drawn)}\n", drawn))
    assert refused.value.code == "seal.hashed"
    with pytest.raises(CloisterError) as refused:
        list(hash_list(card, "person,name,person\nn3,Ann,n3\n", drawn))
    assert refused.value.code == "salt.column"
    column = pa.array([hashed(3, drawn).encode(), None], pa.binary(32))
    with pytest.raises(CloisterError) as refused:
        hash_keys(card, pa.table({"person": column}), drawn)
    assert refused.value.code == "seal.hashed"


def test_a_salt_is_drawn_once_and_a_path_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "keys.salt"
    with ThreadPoolExecutor(8) as pool:
        drawn = set(pool.map(create_salt, [path] * 8))
    assert len(drawn) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["keys.salt"]
    for wrong in (tmp_path, path / "below"):
        with pytest.raises(CloisterError) as refused:
            create_salt(wrong)
        assert refused.value.code == "salt.file"


def test_a_salt_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys.salt"
    with pytest.raises(UnavailableError):
        read_salt(path)
    create_salt(path)
    path.chmod(0o644)
    with pytest.raises(TrustError):
        read_salt(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(CloisterError) as refused:
        read_salt(path)
    assert refused.value.code == "salt.file"


# Cards, contracts, mock rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"hashed": "sha256:short"}, {"hashed": ""}, {"unit": "none", "key": ()}, {"columns": "int"}]
)
def test_a_card_that_cannot_be_sealed_with_hashed_keys_has_an_error(changes: dict[str, Any]) -> None:
    assert not lint.errors_of(card_lint.card_findings(watched()))
    if changes.get("columns"):
        columns = tuple(
            msgspec.structs.replace(column, type="int") if column.name == "person" else column
            for column in watched().columns
        )
        changes = {"columns": columns}
    card = msgspec.structs.replace(watched(), **changes)
    assert "card.hashed" in {finding.code for finding in lint.errors_of(card_lint.card_findings(card))}


def test_a_card_without_hashed_keys_is_written_as_it_always_was() -> None:
    assert b"hashed" not in msgspec.json.encode(watched(None))


def test_a_contract_of_tables_that_cannot_align_or_are_asked_by_hashes_has_a_warning(world: World) -> None:
    from cloister.contract.exits import Exits

    contract = world.contract(exits=Exits(matches=match_world.CLAUSES))
    cards = {world.card.name: world.card, world.bank_card.name: world.bank_card}
    found = lint.contract_findings(contract, cards)
    assert any("keys are sealed as hashes" in finding.text for finding in found)
    assert not any(finding.code == "contract.keys" for finding in found)
    cards[world.bank_card.name] = msgspec.structs.replace(world.bank_card, unit="person")
    assert any(finding.code == "contract.keys" for finding in lint.contract_findings(contract, cards))


def test_mock_rows_of_hashed_keys_are_units() -> None:
    keys = set(mock.rows(watched(), 50, 1)["person"])
    assert len(keys) > 20
    assert all(map(is_hashed, keys))


def test_without_their_check_plain_keys_would_be_units() -> None:
    with mutated(canonical, "    if card.salt_id:\n", "    if False:\n"), pytest.raises(AssertionError):
        test_plain_keys_under_a_card_that_says_hashed_belong_to_nobody()


def test_without_the_salt_in_the_units_type_tables_under_two_salts_would_align() -> None:
    cards = {"p.a": named("p.a", SALT), "p.b": named("p.b", OTHER)}
    from cloister.plan import typing

    with mutated(typing, ", card.salt_id)", ")"):
        analyse(both(), cards)


def test_without_its_check_a_match_would_be_charged_for_plain_keys(world: World) -> None:
    state, _, _ = match_world.vault(world)
    with mutated(match, "if terms.cards[plan.table].salt_id and", "if False and"):
        assert match_world.bits(state, world, "N000000000003") == (False,)
