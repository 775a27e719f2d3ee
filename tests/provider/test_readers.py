"""Sources of a capsule: data frames, CSV, Parquet, SQLite, PostgreSQL; what errors say, and what they never say."""

from __future__ import annotations

import datetime
import io
import logging
import sqlite3
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from postgres import Server, server
from provider_world import CARD, data
from typer.testing import CliRunner

from cloister.cli import whole
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.provider import cards, readers, tables
from cloister.provider.readers import Database, read, source
from cloister.provider.seal import seal
from cloister.wire.identity import SigningKey

PASSWORD = "tr0ub4dor-secret"
KEY = SigningKey.generate()


def expected() -> list[dict[str, Any]]:
    """Return the rows in the types of the card, as every source must give them."""
    return tables.prepare(CARD, read(data()))[0].to_pylist()


def prepared(source_: Any) -> list[dict[str, Any]]:
    return tables.prepare(CARD, read(source_, CARD))[0].to_pylist()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "clinic.db"
    frame = data().assign(day="2023-05-06", extra=1)
    with sqlite3.connect(path) as connection:
        frame.to_sql("visits", connection, index=False)
        frame.to_sql("Odd; name", connection, index=False)
        connection.execute("CREATE TABLE mixed AS SELECT * FROM visits")
        connection.execute("UPDATE mixed SET age = 'forty-one' WHERE rowid = 2")
        connection.execute("CREATE TABLE wrong AS SELECT * FROM visits")
        connection.execute("UPDATE wrong SET age = 'hidden-value', day = 'other-value'")
        connection.execute("CREATE TABLE blobs AS SELECT * FROM visits")
        connection.execute("UPDATE blobs SET patient = x'00ff' WHERE rowid > 4")
    connection.close()
    return path


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Server, str]]:
    with server() as running:
        url = running.database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE SCHEMA ward; CREATE TABLE ward.visits (patient text, day timestamptz, age numeric, "
                "bmi numeric, sex varchar, smokes boolean, extra jsonb)"
            )
            connection.execute("CREATE VIEW ward.plain AS SELECT patient, day, age FROM ward.visits")
            rows = data().astype(object).where(data().notna(), None)
            with connection.cursor() as cursor:
                for row in rows.itertuples(index=False):
                    values = (row.patient, "2023-05-06 12:00+00", row.age, row.bmi, row.sex, row.smokes, '{"a": 1}')
                    cursor.execute("INSERT INTO ward.visits VALUES (%s, %s, %s, %s, %s, %s, %s)", values)
            connection.execute(f"CREATE ROLE nobody2 LOGIN PASSWORD '{PASSWORD}'")
        yield running, url


# The same rows, wherever they come from ----------------------------------------------------------------


def test_files_and_frames(tmp_path: Path) -> None:
    data().to_csv(tmp_path / "visits.csv", index=False)
    data().to_parquet(tmp_path / "visits.parquet")
    for one in (data(), pa.Table.from_pandas(data()), tmp_path / "visits.csv", str(tmp_path / "visits.parquet")):
        assert prepared(one) == expected()


def test_sqlite(sqlite: Path) -> None:
    address = f"sqlite:///{sqlite}"
    query = "SELECT * FROM visits WHERE patient <> ':no' ORDER BY rowid"
    for one in (f"{address}?table=visits", Database(address, "visits"), Database(address, query=query)):
        assert prepared(one) == expected()
    assert prepared(Database(address, "Odd; name")) == expected()
    found = tables.prepare(CARD, read(Database(address, "mixed"), CARD))
    assert found[0]["age"].to_pylist() == [30, None, *range(32, 37)]
    assert found[1].columns["age"].unreadable == 1
    assert found[1].left_out == ("extra",)


def test_postgresql(postgres: tuple[Server, str]) -> None:
    _, url = postgres
    query = "SELECT * FROM ward.visits WHERE patient <> ':no' AND age::int > 0"
    for one in (Database(url, "ward.visits"), Database(url, query=query), f"{url}&table=ward.visits"):
        assert prepared(one) == expected()


def test_a_capsule_from_each_database_opens_to_the_same_rows(
    sqlite: Path, postgres: tuple[Server, str], tmp_path: Path
) -> None:
    import test_seal
    from test_seal import read_capsule

    for number, one in enumerate((Database(f"sqlite:///{sqlite}", "visits"), Database(postgres[1], "ward.visits"))):
        sealed = seal(CARD, one, tmp_path / str(number), test_seal.KEY)
        columns = read_capsule(sealed)
        assert columns["age"][:7] == list(range(30, 37))
        assert columns["bmi"][:3] == [20.5, None, 20.5]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_make_no_difference(sqlite: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", batch)
    assert prepared(f"sqlite:///{sqlite}?table=visits") == expected()


@pytest.mark.parametrize(
    ("values", "kind", "as_declared"),
    [
        ((1, None, 2**62), "int", [1, None, 2**62]),
        ((True, False, None), "bool", [True, False, None]),
        ((Decimal("7.00"), Decimal(2**61), None), "int", [7, 2**61, None]),
        ((Decimal("7.5"), 1, None), "decimal", [7.5, 1.0, None]),
        ((Decimal("NaN"), 1.5, None), "decimal", [None, 1.5, None]),
        ((2**60 + 1, 2.0, "3"), "int", [2**60 + 1, 2, 3]),
        ((2**70, 1, None), "int", [None, 1, None]),
        ((datetime.date(2023, 5, 6), None, None), "date", [datetime.date(2023, 5, 6), None, None]),
        (
            (
                datetime.datetime(2023, 5, 6, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
                datetime.date(2023, 5, 6),
                None,
            ),
            "date",
            [datetime.date(2023, 5, 5), datetime.date(2023, 5, 6), None],
        ),
        ((7, "007", uuid.UUID(int=1)), "string", ["7", "007", str(uuid.UUID(int=1))]),
        ((None, None, None), "int", [None] * 3),
    ],
)
def test_values_of_databases(values: tuple[Any, ...], kind: Any, as_declared: list[Any]) -> None:
    for chunks in ([values], [values[:1], values[1:]]):
        column = readers._joined([readers._array("c", chunk, kind) for chunk in chunks])
        declared = msgspec.structs.replace(CARD.columns[0], name="c", type=kind)
        assert tables._cast(declared, column).to_pylist() == as_declared


# Errors: counts, never values --------------------------------------------------------------------------


def test_types_that_do_not_fit_are_named_with_counts_and_no_value(sqlite: Path) -> None:
    with pytest.raises(MalformedError) as refused:
        prepared(f"sqlite:///{sqlite}?table=wrong")
    assert refused.value.code == "seal.type"
    assert "2 of 6 columns" in refused.value.reason
    assert "age as int (0 of 7 values)" in refused.value.reason
    assert "day as date (0 of 7 values)" in refused.value.reason
    assert "-value" not in str(refused.value)
    frame = data().assign(age="hidden-value", smokes="maybe-value")
    with pytest.raises(MalformedError, match=r"seal\.type") as refused:
        prepared(frame)
    assert "-value" not in str(refused.value)


def test_a_type_that_no_column_can_have(sqlite: Path) -> None:
    with pytest.raises(MalformedError, match=r"seal\.type") as refused:
        prepared(f"sqlite:///{sqlite}?table=blobs")
    assert "patient: 3 of 7" in refused.value.reason
    with pytest.raises(MalformedError, match=r"seal\.type") as refused:
        prepared(data().assign(age=[[1]] * 7))
    assert "7 rows" in refused.value.reason


def test_more_rows_than_the_class_are_refused_without_reading_on(sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 2)
    small = msgspec.structs.replace(CARD, row_limit=4)
    with pytest.raises(RefusedError, match=r"seal\.rows"):
        read(f"sqlite:///{sqlite}?table=visits", small)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://user:{PASSWORD}@host/name?table=x",
        f"postgresql://user:{PASSWORD}@host/name",
        f"postgresql://user:{PASSWORD}@[bad/name?table=x",
        f"://{PASSWORD}",
        f"sqlite:////nowhere/{PASSWORD}/missing.db?table=x",
        "sqlite://?table=x",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/name?table=x",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/name?table=x&sslmode=nonsense",
    ],
)
def test_what_is_no_source_is_said_without_the_address(
    text: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(MalformedError) as refused:
        read(text, CARD)
    assert refused.value.code == "seal.source"
    assert refused.value.next_step
    shown = io.StringIO()
    import traceback

    traceback.print_exception(refused.value, file=shown)
    outcome = CliRunner().invoke(whole(), ["card", "suggest", text, "--name", "clinic.visits"])
    assert outcome.exit_code == 1
    with pytest.raises(MalformedError) as as_path:
        read(Path(text), CARD)
    texts = (str(refused.value), str(as_path.value), shown.getvalue(), outcome.output, str(outcome.exception))
    for said in (*texts, *capfd.readouterr()):
        assert PASSWORD not in said.replace(str(tmp_path), ""), said


def test_a_source_is_named_once(sqlite: Path, tmp_path: Path) -> None:
    address = f"sqlite:///{sqlite}"
    for wrong in (
        lambda: source(address),
        lambda: source(address, "visits", "SELECT 1"),
        lambda: source(str(tmp_path / "x.csv"), "visits"),
        lambda: read(Database(address, query="SELECT age, age FROM visits"), CARD),
        lambda: read(Database(address, "absent"), CARD),
        lambda: read(Database(address, query="DELETE FROM visits RETURNING *"), CARD),
    ):
        with pytest.raises(MalformedError, match=r"seal\.source"):
            wrong()
    assert source("x.csv") == "x.csv"
    assert len(prepared(Database(address, "visits"))) == 7, "nothing was written"


def test_the_server_refuses_and_nothing_of_it_is_repeated(postgres: tuple[Server, str]) -> None:
    _, url = postgres
    other = url.replace("broker@", f"nobody2:{PASSWORD}@")
    for one, why in (
        (Database(other, "ward.visits"), "may not read"),
        (Database(url, "ward.absent"), "no such table"),
        (Database(url.replace("/broker_1", "/absent"), "t"), "no server there, no such database"),
        (Database(url, query="SELEC 'hidden-value'"), "no SQL"),
        (Database(url, query="SELECT 'hidden-value'::int"), "22P02"),
        (Database(url, query="DELETE FROM ward.visits RETURNING *"), ""),
        (Database(url, query="SELECT 1; DROP TABLE ward.visits"), ""),
    ):
        with pytest.raises(MalformedError) as refused:
            read(one, CARD)
        assert refused.value.code == "seal.source"
        assert why in refused.value.reason
        for secret in (PASSWORD, "hidden-value", url, str(postgres[0].folder)):
            assert secret not in f"{refused.value} {one!r}"
    assert len(prepared(Database(url, "ward.visits"))) == 7


def test_no_credential_is_written_or_logged(
    postgres: tuple[Server, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a server that asks for nothing, but with a password in the URL: capsule, card, report, log and output."""
    from cloister.attest.policy import write_policy
    from cloister.provider.home import BrokerHome
    from cloister.provider.keys import create_identity

    caplog.set_level(logging.DEBUG)
    url = postgres[1].replace("broker@", f"broker:{PASSWORD}@")
    key = tmp_path / "clinic.key"
    create_identity(key)
    BrokerHome.create(tmp_path / "broker", write_policy("t", tees=("simulator",), simulated=True, env_digests=()))
    (tmp_path / "card.json").write_bytes(msgspec.json.encode(CARD))
    arguments = ["seal", str(tmp_path / "card.json"), url, "--table", "ward.visits", "--out", str(tmp_path / "capsule"),
                 "--key", str(key), "--broker", str(tmp_path / "broker")]  # fmt: skip
    outcome = CliRunner().invoke(whole(), arguments)
    assert outcome.exit_code == 0, outcome.exception
    suggested = CliRunner().invoke(whole(), ["card", "suggest", f"{url}&table=ward.plain", "--name", "clinic.visits"])
    assert suggested.exit_code == 0, suggested.exception
    assert '"PostgreSQL table ward.plain"' in suggested.output
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (PASSWORD, "postgresql://", str(postgres[0].folder)):
        assert secret.encode() not in written
        assert secret not in outcome.output + suggested.output + caplog.text


def test_a_label_is_never_an_address() -> None:
    assert readers.label(f"postgresql://u:{PASSWORD}@h/n?table=visits") == "PostgreSQL table visits"
    assert readers.label(Path("a") / "b.csv") == "a/b.csv"
    assert readers.label(pd.DataFrame()) == "the data"
    with pytest.raises(CloisterError):
        readers.label(f"nonsense://{PASSWORD}")
    assert cards.suggest(data(), "clinic.visits").card.source.startswith("TODO")
