"""The broker's counts of matches: per clause and per target, with the charge or not at all, and by the log alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from mutants import mutated
from test_accounts import CONTRACT, NOW, USAGE, WIDE, Book

from cloister.contract.exits import Exits, MatchTerms
from cloister.provider import accounts, matches, schema
from cloister.provider.accounts import Accounts, Granted
from cloister.receipt.ledger import Entry, ExitEntry, Matched


def match(charge: str, *tags: str, clause: int = 0, contract: str = CONTRACT, analyst: str = "did:key:ana") -> Entry:
    exit_entry = ExitEntry("match", clause, tags)
    return Entry(charge, "people", contract, analyst, "0", "0", "sha256:commitment", USAGE, exit=exit_entry)


def granted(per_contract: int = 100, per_target: int = 2) -> Granted:
    clauses = tuple(MatchTerms(f"t{number}", "id", per_contract, per_target) for number in range(2))
    return Granted(Fraction(1), Fraction(1), WIDE, exits=Exits(matches=clauses))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.sqlite"


def told(book: Book) -> tuple[Matched, ...]:
    return book.accounts.read_tip("people", CONTRACT).matched


def from_the_log(book: Book) -> dict[int, Counter[str]]:
    """The counts as a plain reading of the entries says."""
    counts: dict[int, Counter[str]] = {}
    for body in book.accounts.entries("people"):
        entry = msgspec.json.decode(body, type=Entry)
        if entry.exits is not None and entry.exits.name == "match":
            counts.setdefault(entry.exits.clause, Counter()).update(entry.exits.targets)
    return counts


def check_counts(book: Book) -> None:
    """What is counted is what the log holds, target by target."""
    counts = from_the_log(book)
    assert told(book) == tuple(
        Matched(clause, each.total(), max(each.values())) for clause, each in sorted(counts.items())
    )
    with book.accounts.database.engine.connect() as db:
        stored = db.execute(sa.select(schema.targets.c.clause, schema.targets.c.tag, schema.targets.c.times)).all()
    assert {tuple(row) for row in stored} == {
        (clause, tag, times) for clause, each in counts.items() for tag, times in each.items()
    }


def outcomes(book: Book, grant: Granted, *entries: Entry) -> list[str]:
    return [book.append(entry, grant).status for entry in entries]


def check_per_contract(path: Path) -> None:
    book = Book(path)
    asked = [match("a", "1", "2"), match("b", "3", "4"), match("c", "5")]
    assert outcomes(book, granted(per_contract=4), *asked) == ["ok", "ok", "limit.match"]
    assert outcomes(book, granted(per_contract=4), match("d", "5", clause=1)) == ["ok"], "each clause its own count"
    assert outcomes(book, granted(per_contract=0), match("e", "6", clause=1)) == ["limit.match"]
    assert outcomes(book, granted(), match("f")) == ["limit.match"], "no target is no match"
    check_counts(book)
    assert told(book) == (Matched(0, 4, 1), Matched(1, 1, 1))
    book.accounts.close()


def check_per_target(path: Path) -> None:
    book = Book(path)
    others = match("b", "2", "1", analyst="did:key:bob")
    assert outcomes(book, granted(), match("a", "1"), others, match("c", "3", "1")) == ["ok", "ok", "limit.target"]
    assert outcomes(book, granted(), match("d", "3", "3", "3")) == ["limit.target"], "twice in one batch is twice"
    assert outcomes(book, granted(), match("e", "3", "3"), match("f", "3"), match("g", "2")) == [
        "ok", "limit.target", "ok",
    ]  # fmt: skip
    assert outcomes(book, granted(per_target=0), match("h", "9")) == ["limit.target"]
    check_counts(book)
    assert told(book) == (Matched(0, 6, 2),)
    book.accounts.close()


def check_once(path: Path) -> None:
    """The same charge counts once, however often it is asked, and in every life of the broker."""
    book = Book(path)
    for _ in range(3):
        assert outcomes(book, granted(per_target=1), match("a", "1", "2")) == ["ok"]
        book.accounts.close()
        book.accounts = Accounts(path)
    assert outcomes(book, granted(per_target=1), match("b", "1")) == ["limit.target"]
    assert outcomes(book, granted(), match("a", "1", "3")) == ["charge.conflict"]
    check_counts(book)
    assert told(book) == (Matched(0, 2, 1),)
    book.accounts.close()


def check_refused_whole(path: Path) -> None:
    """A batch with one target too often counts none of them and charges nothing."""
    book = Book(path)
    outcomes(book, granted(per_target=1), match("a", "1"))
    before = book.accounts.read_tip("people", CONTRACT)
    assert outcomes(book, granted(per_target=1), match("b", "2", "1", "3")) == ["limit.target"]
    assert book.accounts.read_tip("people", CONTRACT) == before
    assert outcomes(book, granted(per_target=1), match("c", "2", "3")) == ["ok"]
    check_counts(book)
    book.accounts.close()


def check_recount(path: Path) -> None:
    """A database whose counts were lost or altered gets them back from its log when the broker starts."""
    book = Book(path)
    outcomes(book, granted(), match("a", "1", "2"), match("b", "2", clause=1), match("c", "1", "3"))
    before = told(book)
    for damage in (
        "DELETE FROM targets",
        "UPDATE targets SET times = 1 WHERE tag = '1'",
        "UPDATE targets SET tag = '4' WHERE tag = '3'",
        "UPDATE targets SET times = 3 - times WHERE tag IN ('1', '3')",
        "DELETE FROM matched",
        "UPDATE matched SET targets = 0",
        "UPDATE matched SET most = 0",
        "UPDATE matched SET targets = 5 - targets",
    ):
        with book.accounts.database.engine.begin() as db:
            db.execute(sa.text(damage))
        book.accounts.recount()
        assert told(book) == before
        check_counts(book)
    assert outcomes(book, granted(), match("d", "1")) == ["limit.target"]
    book.accounts.close()


CHECKS = {
    "per_contract": check_per_contract,
    "per_target": check_per_target,
    "once": check_once,
    "refused_whole": check_refused_whole,
    "recount": check_recount,
}


@pytest.mark.parametrize("name", CHECKS)
def test_counts(path: Path, name: str) -> None:
    CHECKS[name](path)


MUTANTS = [
    (accounts, "refusal = matches.book(db, asked, granted.exits.matches[asked.clause])", "pass", "per_contract"),
    (matches, "    _write(db, asked, before, after)\n", "    pass\n", "per_target"),
    (matches, "+ len(asked.tags) > terms.per_contract", "> terms.per_contract", "per_contract"),
    (matches, "if not asked.tags or", "if", "per_contract"),
    (matches, "if max(times for times, _", "if max(times - 1 for times, _", "per_target"),
    (matches, "if max(times for times, _", "if min(times for times, _", "refused_whole"),
    (matches, "tag: (known.get(tag, 0) + times,", "tag: (known.get(tag, 0) + 1,", "per_target"),
    (matches, "tag: (known.get(tag, 0) + times,", "tag: (times,", "per_target"),
    (matches, "most = max(before.most, *(", "most = max(before.most, *(0 * ", "per_target"),
    (matches, "        _rebuild(db, every)", "        pass", "recount"),
    (matches, "{tuple(row) for row in db.execute(schema.SELECT_ALL_MATCHED)}", "by_clause", "recount"),
    (matches, "and by_target ==", "or by_target !=", "recount"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_every_line_is_needed(path: Path, module, old: str, new: str, check: str) -> None:
    with mutated(module, old, new), pytest.raises((AssertionError, ValueError, TypeError)):
        CHECKS[check](path)


def test_an_exit_needs_its_clause_and_has_no_price(path: Path) -> None:
    book = Book(path)
    for entry in (match("a", "1", clause=2), match("a", "1", clause=-1)):
        assert outcomes(book, granted(), entry) == ["exit.match"]
    assert outcomes(book, granted(), msgspec.structs.replace(match("a", "1"), rho="1/100")) == ["exit.match"]
    assert outcomes(book, Granted(Fraction(1), Fraction(1), WIDE), match("a", "1")) == ["exit.match"]
    assert book.accounts.entries("people") == ()
    book.accounts.close()


def test_threads_never_pass_the_limit_of_a_target(path: Path) -> None:
    book = Book(path)
    results: list[str] = []

    def ask(lane: int) -> None:
        results.extend(outcomes(book, granted(per_target=5), *(match(f"{lane}-{n}", "1", f"x{n}") for n in range(3))))

    threads = [threading.Thread(target=ask, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(results) == {"ok": 5, "limit.target": 7}
    check_counts(book)
    book.accounts.close()


WORKER = """
    import sys
    from pathlib import Path
    sys.path[:0] = sys.argv[4:]
    from test_matches import granted, match
    from cloister.provider.accounts import Accounts

    path, vault, epoch = sys.argv[1:4]
    accounts = Accounts(Path(path), busy_ms=20000)
    print("ready", flush=True)
    for number in range(1000):
        done = accounts.append(match(f"c{number}", "1", f"x{number}"), granted(1000, 1000), vault_id=vault,
                               epoch=int(epoch), time="2026-06-01T00:00:00Z")
        print(done.status, flush=True)
"""


def test_kill_9_counts_with_the_charge_or_not_at_all(path: Path) -> None:
    """Each life asks the same charges again and gets a little further; every one is counted once."""
    book = Book(path)
    here = Path(__file__).parent
    for life in range(2):
        folders = [str(here), str(here.parent / "vault")]
        command = [sys.executable, "-c", textwrap.dedent(WORKER), str(path), book.vault, str(book.epoch), *folders]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        lines = [worker.stdout.readline().strip() for _ in range(4 + 7 * life)]
        worker.send_signal(signal.SIGKILL)
        lines += worker.communicate(timeout=30)[0].split()
        assert set(lines) == {"ready", "ok"}
        check_counts(book)
        (counted,) = told(book)
        charged = len(book.accounts.entries("people"))
        assert counted == Matched(0, 2 * charged, charged)
        assert charged >= len(lines) - 1
    book.accounts.close()


def test_a_new_contract_counts_from_zero_and_old_counts_stay(path: Path) -> None:
    book, other = Book(path), "sha256:" + "d" * 64
    outcomes(book, granted(per_target=1), match("a", "1"))
    vault = "did:key:other"
    epoch = book.accounts.open_session(other, vault, admit=lambda _: b"", time=NOW)
    more = match("b", "1", contract=other)
    assert book.accounts.append(more, granted(per_target=1), vault_id=vault, epoch=epoch, time=NOW).status == "ok"
    assert outcomes(book, granted(per_target=1), match("c", "1")) == ["limit.target"]
    book.accounts.close()
