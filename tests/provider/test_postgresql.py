"""Accounts in PostgreSQL: the same rules, the same bytes, the same crashes. A real server on a socket."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction

import psycopg
import pytest
from log_world import checked, exported
from postgres import server
from provider_world import POPULATION, World
from test_accounts import Book, check_whole, entry, limits

from cloister.contract.exits import Exits, MatchTerms
from cloister.contract.usage import Usage
from cloister.errors import MalformedError, UnavailableError
from cloister.provider import files, matches
from cloister.provider.accounts import Accounts
from cloister.provider.database import Database
from cloister.receipt.ledger import ExitEntry

LIVES = int(os.environ.get("CLOISTER_TEST_KILLS", "1"))


@pytest.fixture(scope="module")
def running():
    with server() as one:
        yield one


@pytest.fixture
def url(running):
    return running.database()


def test_a_broker_on_postgresql_from_session_to_audit(running, tmp_path):
    """Where ``accounts.url`` says is everything: charges, settlements, exits, events; no SQLite file is made."""
    exits = Exits(matches=(MatchTerms("clinic.visits", "smokes", 10, 1),))
    world = World(tmp_path, exits=exits)
    world.broker.close()
    for path in world.home.directory.glob("accounts.*"):
        path.unlink()
    files.write_private(world.home.accounts_url, running.database().encode())
    world.broker = world.start()
    vault = world.vault()
    assert vault.append("c1").status == "ok"
    assert vault.append("c1").size == 1
    assert vault.append("c1", "1/999").status == "charge.conflict"
    assert vault.append("c2", "100").status == "budget.exhausted"
    assert vault.settle("c1", "sealed").status == "ok"
    assert vault.settle("c1", "other").sealed == "sealed"
    ask = {"exit": ExitEntry("match", 0, ("t1", "t2")), "usage": Usage(64, 2, 0)}
    assert vault.append("m1", "0", **ask).status == "ok"
    assert vault.append("m2", "0", **ask).status == "limit.target"
    second = world.vault()
    assert vault.append("c3").status == "session.fenced"
    world.restart()
    assert world.broker.restored is None
    assert second.append("c3").spent == "1/500"
    report = checked(exported(world))
    assert report.sound, report.to_text()
    assert report.entries == {POPULATION: 3}
    with world.broker.accounts.database.transaction() as db:
        matches.recount(db)
        assert matches.matched(db, world.digest)[0].targets == 2
    assert not world.home.accounts_file.exists()
    world.broker.close()


def test_both_databases_make_the_same_log(url, tmp_path):
    books = [Book(tmp_path / "accounts.sqlite"), Book(url)]
    rng = random.Random(3)
    tips = []
    for book in books:
        rng.seed(3)
        for number in range(20):
            book.append(entry(f"c{rng.randrange(12)}", f"1/{rng.choice([7, 11, 13]) * 100}"))
            book.settle(f"c{number}", "sealed")
        tips.append((book.accounts.read_tip("people"), book.accounts.entries("people")))
        check_whole(book.accounts)
        book.accounts.close()
    assert tips[0] == tips[1]


def test_threads_and_two_brokers_never_pass_the_limit(url):
    """Two engines, as of two processes, eight threads: fifty shares of a fiftieth and not one more."""
    first, second = Book(url), Accounts(url)
    results: list[str] = []

    def work(lane: int) -> None:
        for number in range(12):
            accounts = second if lane % 2 else first.accounts
            one = entry(f"{lane}-{number}", "1/50")
            options = {"vault_id": first.vault, "epoch": first.epoch, "time": "2026-06-01T00:00:00Z"}
            results.append(accounts.append(one, limits("1"), **options).status)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(results)) == ["budget.exhausted", "ok"]
    assert results.count("ok") == 50
    assert first.accounts.read_tip("people").spent == 1
    check_whole(first.accounts)
    first.accounts.close()
    second.close()


WRITER = textwrap.dedent(
    """
    import sys
    from fractions import Fraction
    sys.path.insert(0, sys.argv[2])
    from test_accounts import Book, entry, limits
    book = Book(sys.argv[1], vault=sys.argv[3])
    for number in range(10_000):
        name = f"{sys.argv[3]}-{number}"
        booked = book.append(entry(name, "1/1000000"), limits("1"))
        print(name if booked.status == "ok" else "-", flush=True)
    """
)


@pytest.mark.parametrize("victim", ["broker", "server"])
def test_kill_9_keeps_every_acknowledged_charge(running, url, victim, tmp_path):
    """The writer, or the server under it, is killed; what was acknowledged is there, once, and the sums are exact."""
    book = Book(url)
    rng, acknowledged = random.Random(4), set()
    for life in range(LIVES):
        command = [sys.executable, "-c", WRITER, url, str(pytest.importorskip("postgres").__file__.rpartition("/")[0])]
        process = subprocess.Popen([*command, f"life{life}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(rng.randint(2, 20)):
            acknowledged.add(process.stdout.readline().strip())
        if victim == "server":
            running.kill()
            running.start()
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged |= set(rest.split())
    acknowledged -= {"-", ""}
    for _ in range(20):  # connections of the server that died are noticed at their next use
        try:
            held = check_whole(book.accounts)
            break
        except UnavailableError:
            time.sleep(0.1)
    assert acknowledged <= set(held)
    assert len(held) <= len(acknowledged) + LIVES, "at most one charge a life was on disk and not yet acknowledged"
    assert book.accounts.read_tip("people").spent == Fraction(len(held), 10**6)
    book.accounts.close()


def test_a_locked_database_charges_nothing_and_does_not_hang(url):
    book = Book(url, busy_ms=200)
    assert book.append(entry("a")).status == "ok"
    other = Database(url)
    with other.transaction():
        started = time.monotonic()
        with pytest.raises(UnavailableError) as stopped:
            book.append(entry("b"))
        assert time.monotonic() - started < 30
    assert stopped.value.code == "ledger.unavailable"
    assert book.append(entry("c")).status == "ok"
    assert check_whole(book.accounts) == ("a", "c")
    book.accounts.close()
    other.close()


def test_commits_wait_for_the_disk_whatever_the_server_says(running, url):
    with psycopg.connect(f"host={running.folder} user=broker dbname=postgres", autocommit=True) as connection:
        name = url.partition("@/")[2].partition("?")[0]
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = Database(url)
    with database.transaction() as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert db.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    database.close()


@pytest.mark.parametrize("bad", ["mysql://host/name", "nonsense", "postgresql+asyncpg://x/y:z:z"])
def test_urls_that_are_none(bad):
    with pytest.raises((MalformedError, UnavailableError)):
        Database(bad)


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(UnavailableError) as stopped:
        Database(f"postgresql://broker@/none?host={tmp_path}")
    assert stopped.value.code == "database.unavailable"
    assert "host" not in stopped.value.reason
