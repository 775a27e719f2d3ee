"""``%%cloister_sql`` in a real kernel: known from the start, passed on by the proxy, answered in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Client, kernel

from cloister.analyst.commands import parse
from cloister.analyst.completion import complete

QUERY = "SELECT sex, COUNT(*) AS n FROM visits GROUP BY sex ORDER BY n DESC"


def test_the_proxy_leaves_these_cells_to_the_sandbox(tmp_path: Path) -> None:
    for cell in (f"%%cloister_sql\n{QUERY}", f"%%cloister_sql counts --cost\n{QUERY}", "%%cloister_sql"):
        assert parse(cell) is None
        assert complete(cell, len(cell), tmp_path) is None


@pytest.fixture(scope="module")
def client(attested: str) -> Iterator[Client]:
    with kernel(f"{attested}-mock") as client:
        yield client


def test_a_cell_of_sql_is_answered_and_keeps_its_name(client: Client) -> None:
    # The very first cell: nothing has been imported.
    cell = client.run(f"%%cloister_sql counts --epsilon 0.1\n{QUERY}")
    assert cell.content["status"] == "ok", cell.content
    (shown,) = cell.of("execute_result")
    assert "sex" in shown["data"]["text/plain"]
    told = client.run("print(type(counts).__name__, counts.index.name, counts.release.mode, counts.release.epsilon)")
    assert told.text().startswith("DataFrame sex mock 0.")


def test_a_price_is_shown_and_nothing_is_released(client: Client) -> None:
    cell = client.run(f"%%cloister_sql --cost\n{QUERY}")
    (shown,) = cell.of("execute_result")
    assert "not spent yet" in shown["data"]["text/plain"]


def test_a_refusal_points_into_the_query(client: Client) -> None:
    cell = client.run("%%cloister_sql\nSELECT *\nFROM visits")
    assert cell.content["status"] == "error"
    text = "\n".join(cell.content["traceback"])
    assert "[sql.rows] rows never leave the enclave" in text
    assert "line 1, column 8:" in text
    assert "nearest: SELECT COUNT(*) FROM visits" in text
    assert "run_cell_magic" not in text
    assert client.run("print(1)").text().strip() == "1"


def test_tab_knows_tables_and_columns(client: Client) -> None:
    code = "%%cloister_sql\nSELECT COUNT(*) FROM vis"
    reply = client.ask("shell", "complete_request", {"code": code, "cursor_pos": len(code)})
    assert "visits" in reply.content["matches"]
