"""Entries of exits at the broker: under a clause, at no price, counted; and nothing else is ever free."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from mutants import mutated
from test_accounts import CONTRACT, USAGE, WIDE, Book

from cloister.contract.exits import DeliverTerms, Exits
from cloister.provider.accounts import Accounts, Granted
from cloister.receipt import account as rules
from cloister.receipt.ledger import Entry, ExitEntry

PLANS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
CLAUSES = Exits(
    deliveries=tuple(DeliverTerms(plan, "bureau", times) for plan, times in zip(PLANS, (1, 2), strict=True))
)
GRANTED = Granted(Fraction(1), Fraction(1), WIDE, exits=CLAUSES)
replace = msgspec.structs.replace


def delivery(charge: str, clause: int = 0, population: str = "people", **changes: str) -> Entry:
    leaves = ExitEntry("deliver", clause)
    found = Entry(charge, population, CONTRACT, "did:key:ana", "0", "0", "sha256:commitment", USAGE, exit=leaves)
    return replace(found, **changes)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "accounts.sqlite")


def test_an_exit_is_in_the_log_and_costs_nothing(book: Book) -> None:
    booked = book.append(delivery("one"), GRANTED)
    assert (booked.status, booked.tip.size, booked.tip.spent, booked.tip.used.releases) == ("ok", 1, 0, 1)
    assert book.append(delivery("one"), GRANTED).tip == booked.tip


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (delivery("x", clause=2), "exit.deliver"),
        (delivery("x", clause=-1), "exit.deliver"),
        (delivery("x", rho="1/100"), "exit.deliver"),
        (delivery("x", delta="1/1000"), "exit.deliver"),
        (replace(delivery("x"), exit=ExitEntry("match", 0, ("tag",))), "exit.match"),
        # What is no exit is never free.
        (replace(delivery("x"), exit=msgspec.UNSET), "budget.exhausted"),
    ],
)
def test_what_no_clause_allows_is_not_booked(book: Book, entry: Entry, status: str) -> None:
    assert (book.append(entry, GRANTED).status, book.accounts.read_tip("people").size) == (status, 0)
    plain = Granted(Fraction(1), Fraction(1), WIDE)
    assert book.append(delivery("y"), plain).status == "exit.deliver"


def test_who_is_no_analyst_of_the_contract_has_no_exits(book: Book) -> None:
    stranger = replace(GRANTED, analyst=Fraction(0))
    assert (book.append(delivery("x"), stranger).status, book.accounts.read_tip("people").size) == ("limit.analyst", 0)


def test_a_clause_is_used_up_and_a_restart_forgets_nothing(book: Book, tmp_path: Path) -> None:
    assert book.append(delivery("one"), GRANTED).status == "ok"
    assert book.append(delivery("one", population="others"), GRANTED).status == "ok", "the same delivery"
    assert book.append(delivery("two"), GRANTED).status == "limit.deliver"
    assert [book.append(delivery(name, 1), GRANTED).status for name in ("a", "b", "c")] == ["ok", "ok", "limit.deliver"]
    assert book.append(delivery("one"), GRANTED).status == "ok", "a retry"
    book.accounts.close()
    again = Book(tmp_path / "accounts.sqlite", vault="did:key:second")
    assert isinstance(again.accounts, Accounts)
    assert again.append(delivery("three"), GRANTED).status == "limit.deliver"
    assert again.append(delivery("d", 1), GRANTED).status == "limit.deliver"


@pytest.mark.parametrize(
    ("old", "new", "entry"),
    [
        ('return "" if amount > 0 else "budget.exhausted"', 'return ""', replace(delivery("x"), exit=msgspec.UNSET)),
        ("if amount or delta or not 0 <=", "if amount or delta or not -9 <=", delivery("x", clause=-1)),
        ("if amount or delta or not 0 <=", "if not 0 <=", delivery("x", rho="1/100")),
    ],
)
def test_each_check_is_needed(book: Book, old: str, new: str, entry: Entry) -> None:
    assert book.append(entry, GRANTED).status != "ok"
    with mutated(rules, old, new):
        assert book.append(entry, GRANTED).status == "ok"
