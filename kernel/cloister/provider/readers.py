"""Where a provider's table comes from: a data frame, a CSV or Parquet file, SQLite, PostgreSQL.

A URL can hold a password. It is used to connect and is in nothing that is written: no log, message, card or manifest.
Databases are opened to read only. What they hold comes as Python values, a batch of rows at a time, and is brought into
Arrow columns; whether these fit the card is checked afterwards, the same for every source (``tables.prepare``).
"""

from __future__ import annotations

import datetime
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from cloister.contract.card import Card
from cloister.errors import EXTRA, CloisterError, MalformedError, RefusedError

BATCH_ROWS = 1 << 16
CONNECT_S = 10
# One slash too: a path of an address loses the other. A drive of Windows has one letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)?:/")
_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
# SQLSTATE classes and codes (PostgreSQL manual, appendix A) that say what to do, without the server's own words.
_STATES = {
    "08": "no connection",
    "28": "the server does not let this user in",
    "3D000": "there is no such database",
    "42P01": "there is no such table",
    "42501": "this user may not read it",
    "42601": "the query is no SQL",
}


class Database:
    """A table, or the answer of a query, in a database.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://...``; ``?table=NAME`` names the table too.
        table: ``name`` or (PostgreSQL) ``schema.name``.
        query: One SELECT, instead of a table.

    Raises:
        MalformedError: ``seal.source``: no such URL, or not exactly one of table and query.
    """

    def __init__(self, url: str, table: str = "", query: str = "") -> None:
        try:
            parsed = sa.make_url(url)
            kind = _KINDS.get(parsed.get_backend_name(), "")
        except (ArgumentError, NoSuchModuleError, ValueError):
            kind = ""
        if not kind:
            raise MalformedError(
                "seal.source", "not the address of a database that can be read",
                next_step="sqlite:///FILE or postgresql://USER@HOST/NAME, with --table or --query",
            ) from None  # fmt: skip
        named = parsed.query.get("table", "")
        self.kind, self._url = kind, parsed.difference_update_query(["table"])
        self.table, self._query = table or (named if isinstance(named, str) else ""), query
        if bool(self.table) == bool(query):
            raise MalformedError(
                "seal.source", f"say what to read from {kind}", next_step="--table NAME, or --query 'SELECT ...'"
            )

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        """What it is called in messages: never the address."""
        return f"{self.kind} table {self.table}" if self.table else f"a query of {self.kind}"

    @contextmanager
    def rows(self) -> Iterator[sa.CursorResult[Any]]:
        """Yield the rows, which are read as they are taken.

        Raises:
            MalformedError: ``seal.source``: it cannot be read.
            RefusedError: ``install.extra``: the driver is not installed.
        """
        try:
            engine = self._engine()
            try:
                with engine.connect() as connection:
                    yield connection.execution_options(stream_results=True, yield_per=BATCH_ROWS).execute(
                        self._select()
                    )
            finally:
                engine.dispose()
        except ModuleNotFoundError:
            step = EXTRA.format("postgresql")
            raise RefusedError("install.extra", "PostgreSQL needs its driver", next_step=step) from None
        except (SQLAlchemyError, sqlite3.Error) as error:
            _unreadable(self.name, error)

    def _engine(self) -> sa.Engine:
        if self.kind == "PostgreSQL":
            options = {"connect_timeout": CONNECT_S, "options": "-c default_transaction_read_only=on"}
            url = self._url.set(drivername="postgresql+psycopg")
            return sa.create_engine(url, connect_args=options, poolclass=sa.NullPool, hide_parameters=True)
        path = Path(self._url.database or "")
        if not path.is_file():
            raise MalformedError("seal.source", f"there is no file {path.name}", next_step="sqlite:///PATH")
        address = f"file:{quote(str(path))}?mode=ro"
        return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.NullPool)

    def _select(self) -> sa.Executable:
        if self._query:
            return sa.text(self._query.replace(":", "\\:"))
        schema, _, name = self.table.rpartition(".") if self.kind == "PostgreSQL" else ("", "", self.table)
        return sa.select(sa.text("*")).select_from(sa.table(name, schema=schema or None))


def read(data: Any, card: Card | None = None) -> pa.Table:
    """Return a PyArrow table of a data frame, a table, the path of a CSV or Parquet file, or a database.

    Args:
        data: Any of these; a text with ``://`` in it is a URL (``Database``).
        card: What the card calls text in a CSV is read as it is written: ``007`` is not 7.

    Raises:
        MalformedError: ``seal.format``: none of these, or a file that cannot be read; ``seal.source``: a database that
            cannot be read; ``seal.type``: values of a kind that no column can have.
        RefusedError: ``install.extra``.
    """
    data = _addressed(data)
    if isinstance(data, Database):
        return _of_database(data, card)
    try:
        if isinstance(data, pa.Table):
            return data
        if isinstance(data, str | Path):
            return pq.read_table(Path(data)) if Path(data).suffix == ".parquet" else _csv(Path(data), card)
        return pa.Table.from_pandas(data, preserve_index=False)
    except (pa.ArrowException, OSError, TypeError, AttributeError, OverflowError) as error:
        # Arrow's own words can quote a value.
        step = "a DataFrame, CSV, Parquet, sqlite:///FILE or postgresql://..."
        reason = f"cannot read {label(data)} ({type(error).__name__})"
        raise MalformedError("seal.format", reason, next_step=step) from None


def source(text: str, table: str = "", query: str = "") -> str | Database:
    """Return what a command line names as data.

    Raises:
        MalformedError: ``seal.source``.
    """
    if _ADDRESS.match(text):
        return Database(text, table, query)
    if table or query:
        raise MalformedError(
            "seal.source", "a file has no tables to choose from", next_step="leave --table, --query out"
        )
    return text


def too_many_rows() -> RefusedError:
    """Return the refusal of a table that is larger than its card says."""
    return RefusedError(
        "seal.rows",
        "the data have more rows than the card's size class",
        clause="row_limit",
        next_step="declare the next size class, usually a power of two",
    )


def label(data: Any) -> str:
    """Return what a source is called in messages and cards: a file's path or a table's name, never an address."""
    data = _addressed(data)
    if isinstance(data, Database):
        return data.name
    return str(data) if isinstance(data, str | Path) else "the data"


def _addressed(data: Any) -> Any:
    """Return the database that an address names; whatever looks like one is never taken, and named, as a path."""
    return Database(str(data)) if isinstance(data, str | Path) and _ADDRESS.match(str(data)) else data


def _csv(path: Path, card: Card | None) -> pa.Table:
    texts = {column.name: pa.string() for column in card.columns if column.type == "string"} if card else {}
    return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=texts))


def _of_database(source: Database, card: Card | None) -> pa.Table:
    with source.rows() as found, closing(found):
        names = list(found.keys())
        if len(names) != len(set(names)):
            raise MalformedError("seal.source", f"{source.name} names a column twice", next_step="name columns apart")
        declared = {column.name: column.type for column in card.columns} if card else {}
        chunks: list[list[pa.Array]] = [[] for _ in names]
        rows = 0
        for batch in found.partitions(BATCH_ROWS):
            rows += len(batch)
            for name, held, values in zip(names, chunks, zip(*batch, strict=True), strict=True):
                if card is None or name in declared:
                    held.append(_array(name, values, declared.get(name, "")))
                else:
                    held.append(pa.nulls(len(values)))  # left out in any case; only its name is told
            if card is not None and rows > card.row_limit:
                # Not left to who counts rows later: a recipe that suppresses would bring a cut table below the limit.
                raise too_many_rows()
    return pa.table({name: _joined(held) for name, held in zip(names, chunks, strict=True)})


def _array(name: str, values: Sequence[Any], declared: str) -> pa.Array:
    """Return values of one column as they are; where they are of several types, as text that is read one by one."""
    types = {type(value) for value in values if value is not None}
    if not types:
        return pa.nulls(len(values))
    if types <= {int, bool, Decimal} and all(_is_whole(value) for value in values):
        kind = pa.bool_() if types == {bool} else pa.int64()
        return pa.array([None if v is None else v if kind == pa.bool_() else int(v) for v in values], kind)
    if types <= {int, bool, float, Decimal} and declared in {"", "decimal"}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if types == {datetime.date}:
        return pa.array(values, pa.date32())
    if types <= {datetime.date, datetime.datetime}:
        return pa.array([None if value is None else _moment(value) for value in values], pa.timestamp("us"))
    readable = (str, int, bool, float, Decimal, datetime.date, datetime.datetime, uuid.UUID)
    if wrong := sum(value is not None and not isinstance(value, readable) for value in values):
        raise MalformedError(
            "seal.type",
            f"column {name}: {wrong:,} of {len(values):,} values read are of a type that no column can have",
            clause=f"columns.{name}",
            next_step="leave the column out of the card, or cast it in a query",
        )
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _is_whole(value: Any) -> bool:
    # A decimal without a fraction, as PostgreSQL's numeric keys are; beyond 64 bits nothing is whole.
    return value is None or (
        (not isinstance(value, Decimal) or (value.is_finite() and value == value.to_integral_value()))
        and abs(value) < 2**63
    )


def _moment(value: datetime.date) -> datetime.datetime:
    """Return a time without a zone: of UTC, if it had one."""
    if not isinstance(value, datetime.datetime):
        return datetime.datetime(value.year, value.month, value.day)
    return value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)


def _joined(chunks: list[pa.Array]) -> pa.ChunkedArray:
    """Return the batches of a column as one; batches of different types as text."""
    kinds = {chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)}
    kind = kinds.pop() if len(kinds) == 1 else pa.string() if kinds else pa.null()
    return pa.chunked_array([chunk.cast(kind) for chunk in chunks], kind)


def _unreadable(name: str, error: Exception) -> NoReturn:
    """Raise what is wrong with a database, in our words: its own may repeat address, query or values."""
    if isinstance(error, CloisterError):
        raise error
    original = getattr(error, "orig", None) or error
    state: str = getattr(original, "sqlstate", None) or ""
    why = _STATES.get(state) or _STATES.get(state[:2]) or f"{type(original).__name__} {state}".strip()
    if not state and "PostgreSQL" in name and isinstance(error, OperationalError):
        why = "no server there, no such database, or it does not let this user in"
    raise MalformedError(
        "seal.source", f"cannot read {name}: {why}", next_step="check address, user, table and query"
    ) from None
