"""One account of an export, entry by entry: is each a charge that its contract allows, once, for an admitted vault?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache

import msgspec

from cloister.contract.terms import Contract
from cloister.contract.usage import Used, exceeded
from cloister.errors import MalformedError, TrustError
from cloister.receipt import account, sums
from cloister.receipt.account import Deltas, Granted, Tip
from cloister.receipt.export import Leaf
from cloister.receipt.ledger import Entry

_parse = lru_cache(maxsize=4096)(sums.parse)


class Charged(msgspec.Struct, frozen=True):
    """A charge of the log, with the broker's time and the vault it was made for (empty: older than the events)."""

    entry: Entry
    position: int
    time: str = ""
    vault_id: str = ""


class Counts:
    """What all accounts of a broker used of each contract: releases, rows, time, models, targets, deliveries."""

    def __init__(self) -> None:
        # Python's own keyed hash: an id takes 8 bytes here, and nobody can choose two that collide.
        self._counted: set[int] = set()
        self._used: dict[str, Used] = {}
        self._targets: dict[tuple[str, int], Counter[str]] = {}
        self._deliveries: dict[tuple[str, int], set[str]] = {}

    def add(self, entry: Entry) -> None:
        """Count a release with the first account it charges."""
        key = hash((entry.contract, entry.charge_id))
        if key not in self._counted:
            self._counted.add(key)
            self._used[entry.contract] = self._used.get(entry.contract, Used()).plus(entry.usage)
        if entry.exits is not None:
            clause = (entry.contract, entry.exits.clause)
            if entry.exits.name == "match":
                self._targets.setdefault(clause, Counter()).update(entry.exits.targets)
            else:
                self._deliveries.setdefault(clause, set()).add(entry.charge_id)

    def beyond(self, contracts: Mapping[str, Contract]) -> Iterator[tuple[str, str]]:
        """Yield code and words for every count that is beyond its contract."""
        for digest, used in self._used.items():
            if digest in contracts and (name := exceeded(used, contracts[digest].limits)):
                yield f"limit.{name}", f"contract {contracts[digest].name}: more {name} than it allows"
        for (digest, clause), tags in self._targets.items():
            terms = contracts[digest].outside.matches if digest in contracts else ()
            if clause < len(terms) and tags.total() > terms[clause].per_contract:
                yield "limit.match", f"contract {contracts[digest].name}: more targets than clause {clause} allows"
            if clause < len(terms) and max(tags.values(), default=0) > terms[clause].per_target:
                yield "limit.target", f"contract {contracts[digest].name}: one target more often than allowed"
        for (digest, clause), made in self._deliveries.items():
            allowed = contracts[digest].outside.deliveries if digest in contracts else ()
            if clause < len(allowed) and len(made) > allowed[clause].times:
                yield "limit.deliver", f"contract {contracts[digest].name}: more deliveries than clause {clause} allows"


class AccountCheck:
    """The state of one account while its entries are read in order."""

    def __init__(
        self,
        population: str,
        dids: frozenset[str],
        contracts: Mapping[str, Contract],
        admitted: set[tuple[str, str]],
        counts: Counts,
    ) -> None:
        self.spent = self.delta = Fraction(0)
        self._population, self._dids = population, dids
        self._contracts, self._admitted, self._counts = contracts, admitted, counts
        self._ids: set[int] = set()
        self._mine: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
        self._grants: dict[tuple[str, str], Granted | None] = {}

    def entry(
        self, leaf: Leaf, *, position: int, event: tuple[bytes, str, str] | None, before_events: bool
    ) -> Charged | None:
        """Check the next entry and return it (None for one of a recovery, which is no charge of a release).

        Raises:
            MalformedError: Not an entry.
            TrustError: ``entry.*``, ``budget.*``, ``limit.*``, ``exit.*``: it should not be there.
        """
        one = _decode(leaf)
        amount, delta = _parse(one.rho), _parse(one.delta)
        self.spent = sums.add(self.spent, amount)
        self.delta = sums.add(self.delta, delta) if delta else self.delta
        key = hash(one.charge_id)
        if one.population != self._population or key in self._ids:
            raise TrustError("entry.twice", "a charge id twice, or an entry of another account")
        self._ids.add(key)
        if event is None and not before_events:
            raise TrustError("entry.event", "a charge that no event tells of")
        if event is not None and event[0] != leaf.digest:
            raise TrustError("entry.event", "the event of the charge names another entry")
        if account.is_burnt(one):
            return None
        self._allowed(one, amount, delta)
        self._counts.add(one)
        if event is None:
            return Charged(one, position)
        if (event[2], one.contract) not in self._admitted:
            raise TrustError("entry.vault", "charged for a vault that was never admitted under this contract")
        return Charged(one, position, event[1], event[2])

    def _allowed(self, one: Entry, amount: Fraction, delta: Fraction) -> None:
        who = (one.contract, one.analyst)
        if who not in self._grants:
            contract = self._contracts.get(one.contract)
            if contract is None:
                raise TrustError("entry.contract", "charged under a contract that is not in the export, or not signed")
            brokers = [account.broker_of(contract, did) for did in self._dids]
            terms = next((broker for broker in brokers if broker is not None), None)
            self._grants[who] = account.granted_by(contract, terms, self._population, one.analyst)
        granted = self._grants[who]
        if granted is None:
            raise TrustError("entry.budget", "charged under a contract without a budget for this population")
        mine, my_delta = self._mine.get(who, (Fraction(0), Fraction(0)))
        self._mine[who] = mine, my_delta = sums.add(mine, amount), sums.add(my_delta, delta) if delta else my_delta
        deltas = Deltas(self.delta, self.delta, my_delta)
        # The counts of the contract are checked for all of its accounts together, at the end.
        after = Tip(0, "", self.spent, mine, mine, Used(), deltas)
        if found := account.refusal(after, one, amount, delta, granted):
            raise TrustError(found, "charged beyond what its contract allows")


def _decode(leaf: Leaf) -> Entry:
    if leaf.body is None:
        raise MalformedError("entry.purged", "the entry of an account was removed; accounts are kept whole")
    try:
        return msgspec.json.decode(leaf.body, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("entry.malformed", f"not an entry: {error}") from error
