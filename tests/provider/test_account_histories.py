"""Model check of the accounts: random concurrent histories near exhaustion, two contracts on one population.

A model that only adds fractions says what an account must hold. Whatever the threads' order, the losses of replies and
the restarts, the sums of the account, of each contract and of each analyst are those of its entries and never above
what was granted. Two contracts have their own limits, and what one has spent counts for the other.
"""

from __future__ import annotations

import os
import random
import threading
from fractions import Fraction
from itertools import product
from pathlib import Path

import msgspec
import pytest

from cloister.contract.terms import Limits
from cloister.contract.usage import Usage
from cloister.provider import accounts
from cloister.provider.accounts import Accounts, Booking, Granted
from cloister.receipt.ledger import Entry

HISTORIES = int(os.environ.get("CLOISTER_TEST_HISTORIES", "12"))
NOW = "2026-06-01T00:00:00Z"
WIDE = Limits(releases=10**6, rows=10**9, compute=10**9, models=10**6)
CONTRACTS = ("sha256:" + "a" * 64, "sha256:" + "b" * 64)
ANALYSTS = ("did:key:ana", "did:key:bob")
POPULATIONS = ("people", "firms")
# The first contract is the narrower one; each analyst has a part of it, and both parts make the whole.
GRANTED = {
    (CONTRACTS[0], ANALYSTS[0]): Granted(Fraction(1), Fraction(1, 3), WIDE, Fraction(1, 10**6), Fraction(1, 3 * 10**6)),
    (CONTRACTS[0], ANALYSTS[1]): Granted(Fraction(1), Fraction(2, 3), WIDE, Fraction(1, 10**6), Fraction(2, 3 * 10**6)),
    (CONTRACTS[1], ANALYSTS[0]): Granted(Fraction(3, 2), Fraction(3, 2), WIDE, Fraction(0), Fraction(0)),
    (CONTRACTS[1], ANALYSTS[1]): Granted(Fraction(3, 2), Fraction(1, 2), WIDE, Fraction(3, 10**6), Fraction(1, 10**6)),
}


class Book:
    """The accounts of one broker with a vault's session for each contract."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accounts = Accounts(path, busy_ms=20_000)
        self.sessions = {contract: self.session(contract) for contract in CONTRACTS}

    def session(self, contract: str) -> tuple[str, int]:
        vault = f"did:key:vault-{contract[-1]}"
        return vault, self.accounts.open_session(contract, vault, admit=lambda _: b"", time=NOW)

    def append(self, entry: Entry) -> Booking:
        vault, epoch = self.sessions[entry.contract]
        granted = GRANTED[entry.contract, entry.analyst]
        return self.accounts.append(entry, granted, vault_id=vault, epoch=epoch, time=NOW)

    def restart(self) -> None:
        self.accounts.close()
        self.__init__(self.path)  # type: ignore[misc]


def random_entry(rng: random.Random, name: str) -> Entry:
    rho = Fraction(rng.randint(1, 60), rng.choice((300, 700, 997)))
    delta = Fraction(rng.choice((0, 0, 1, 7)), 5 * 10**7)
    return Entry(
        charge_id=name,
        population=rng.choice(POPULATIONS),
        contract=rng.choice(CONTRACTS),
        analyst=rng.choice(ANALYSTS),
        rho=str(rho),
        delta=str(delta),
        plan="sha256:plan",
        usage=Usage(rows=10, compute=1, models=0),
    )


def check_account(book: Book, population: str) -> list[Entry]:
    """The sums are those of the entries, and within every limit; return the entries."""
    entries = [msgspec.json.decode(body, type=Entry) for body in book.accounts.entries(population)]
    assert len({one.charge_id for one in entries}) == len(entries), "a charge was booked twice"
    for contract, analyst in product(CONTRACTS, ANALYSTS):
        tip = book.accounts.read_tip(population, contract, analyst)
        under = [one for one in entries if one.contract == contract]
        mine = [one for one in under if one.analyst == analyst]
        assert (tip.spent, tip.delta.spent) == (total(entries, "rho"), total(entries, "delta"))
        assert (tip.contract_spent, tip.delta.contract_spent) == (total(under, "rho"), total(under, "delta"))
        assert (tip.analyst_spent, tip.delta.analyst_spent) == (total(mine, "rho"), total(mine, "delta"))
        granted = GRANTED[contract, analyst]
        assert tip.analyst_spent <= granted.analyst
        assert tip.delta.analyst_spent <= granted.analyst_delta
    # Everybody's sum is within the limit that the last entry of each contract was held against.
    for contract in CONTRACTS:
        places = [number for number, one in enumerate(entries) if one.contract == contract]
        for number in places[-1:]:
            sofar, granted = entries[: number + 1], GRANTED[contract, ANALYSTS[0]]
            assert total(sofar, "rho") <= granted.rho
    spenders = [number for number, one in enumerate(entries) if Fraction(one.delta)]
    for number in spenders:
        one = entries[number]
        assert total(entries[: number + 1], "delta") <= GRANTED[one.contract, one.analyst].delta
    return entries


def total(entries: list[Entry], field: str) -> Fraction:
    return sum((Fraction(getattr(one, field)) for one in entries), Fraction(0))


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_no_concurrent_history_passes_a_limit(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    book = Book(tmp_path / "accounts.sqlite")
    outcomes: dict[str, list[str]] = {}
    for life in range(2):
        work = [[random_entry(rng, f"{life}-{lane}-{n}") for n in range(12)] for lane in range(4)]
        # Retries of what was asked before, in this life and the last, and strangers under a known name.
        known = [entry for lane in work for entry in lane]
        work.append(rng.sample(known, 12))

        def run(lane: list[Entry]) -> None:
            for entry in lane:
                outcomes.setdefault(entry.charge_id, []).append(book.append(entry).status)

        threads = [threading.Thread(target=run, args=(lane,)) for lane in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        book.restart()
        held = {one.charge_id for population in POPULATIONS for one in check_account(book, population)}
        assert held == {name for name, statuses in outcomes.items() if "ok" in statuses}
    allowed = {"ok", "budget.exhausted", "budget.delta", "limit.analyst"}
    assert {status for statuses in outcomes.values() for status in statuses} <= allowed
    assert any(status != "ok" for statuses in outcomes.values() for status in statuses), "never near exhaustion"
    book.accounts.close()


@pytest.mark.parametrize("forgotten", ["budget.exhausted", "budget.delta", "limit.analyst"])
def test_the_model_notices_an_account_that_forgets_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    real = accounts._refusal

    def forgetful(*arguments: object) -> str:
        found = real(*arguments)  # type: ignore[arg-type]
        return "" if found == forgotten else found

    monkeypatch.setattr(accounts, "_refusal", forgetful)
    rng, book = random.Random(1), Book(tmp_path / "accounts.sqlite")
    for number in range(160):
        book.append(random_entry(rng, str(number)))
    with pytest.raises(AssertionError):
        for population in POPULATIONS:
            check_account(book, population)
    book.accounts.close()


def test_an_amended_contract_keeps_what_was_spent(tmp_path: Path) -> None:
    """The second contract grants more, and starts from what the first has spent: rho and delta of everybody."""
    book = Book(tmp_path / "accounts.sqlite")

    def spend(name: str, contract: int, rho: str, delta: str = "0", analyst: str = ANALYSTS[1]) -> Booking:
        usage = Usage(rows=10, compute=1, models=0)
        return book.append(Entry(name, "people", CONTRACTS[contract], analyst, rho, delta, "sha256:plan", usage))

    assert spend("first", 0, "2/3", "1/2000000").status == "ok"
    assert spend("more than the first grants", 0, "1/300", "0").status == "limit.analyst"
    after = spend("under the amended one", 1, "1/2", "1/1000000")
    assert (after.status, after.tip.spent, after.tip.contract_spent) == ("ok", Fraction(7, 6), Fraction(1, 2))
    assert after.tip.delta.spent == Fraction(3, 2 * 10**6)
    assert spend("his part of it", 1, "1/1000").status == "limit.analyst"
    assert spend("all that is left", 1, "1/3", analyst=ANALYSTS[0]).status == "ok"
    assert spend("one more", 1, "1/100000", analyst=ANALYSTS[0]).status == "budget.exhausted"
    assert spend("the first contract", 0, "1/100000", analyst=ANALYSTS[0]).status == "budget.exhausted"
    book.accounts.close()


def test_delta_is_refused_as_delta(tmp_path: Path) -> None:
    book = Book(tmp_path / "accounts.sqlite")
    usage = Usage(rows=10, compute=1, models=0)

    def spend(name: str, delta: str) -> str:
        entry = Entry(name, "people", CONTRACTS[0], ANALYSTS[0], "1/1000", delta, "sha256:plan", usage)
        return book.append(entry).status

    assert spend("a third, exactly", "1/3000000") == "ok"
    assert spend("a little more", "1/1000000000000") == "budget.delta"
    assert spend("none", "0") == "ok"
    book.accounts.close()


def test_accounts_written_before_delta_open_and_charge(tmp_path: Path) -> None:
    """A database of an earlier version has no table of deltas: it gets one, and keeps every sum."""
    import sqlite3

    book = Book(tmp_path / "accounts.sqlite")
    usage = Usage(rows=10, compute=1, models=0)
    old = Entry("old", "people", CONTRACTS[0], ANALYSTS[0], "1/10", "0", "sha256:plan", usage)
    assert book.append(old).status == "ok"
    book.accounts.close()
    with sqlite3.connect(book.path) as db:
        db.execute("DROP TABLE deltas")
    book.restart()
    assert book.append(old).status == "ok"
    new = msgspec.structs.replace(old, charge_id="new", delta="1/4000000")
    tip = book.append(new).tip
    assert (tip.spent, tip.delta.analyst_spent) == (Fraction(1, 5), Fraction(1, 4 * 10**6))
    book.accounts.close()
