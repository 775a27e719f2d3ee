"""An invoice made from the log alone: what was metered, at a tariff, exactly. Pure.

Metered are functions of plan and policy only (``contract/usage.py``): releases, rows by declared size, computing time,
models, targets of matches, deliveries. So an invoice tells nothing that the plans do not, and whoever has the export
and the tariff gets the same bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract.findings import exact
from cloister.contract.tariffs import price_list
from cloister.contract.terms import Contract
from cloister.errors import ContractError, MalformedError
from cloister.receipt.audit_accounts import Charged
from cloister.wire import canonical

Item = Literal["releases", "rows", "compute", "models", "targets", "deliveries"]
ITEMS: tuple[Item, ...] = ("releases", "rows", "compute", "models", "targets", "deliveries")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A price: ``amount`` (exact decimal) for every ``per`` of an item, after the first ``free`` of a period.

    ``contract`` (digest) and ``analyst`` (did) narrow it down; of several prices of an item the narrowest counts.
    """

    item: Item
    amount: str
    per: int = 1
    free: int = 0
    contract: str = ""
    analyst: str = ""


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices in one currency; ``digits`` are those of its smallest unit (2: cents)."""

    currency: str
    price: tuple[Price, ...]
    digits: int = 2


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: what an analyst used of an item under a contract, how much of it is paid for, and the exact amount."""

    contract: str
    analyst: str
    item: Item
    quantity: int
    charged: int
    price: str
    per: int
    amount: str


class Invoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invoice over ``[since, until)`` (empty: no bound), from the log that a checkpoint states.

    ``total`` is the exact sum of the lines, rounded half up to the currency's smallest unit.
    """

    broker: str
    checkpoint: str
    tariff: str
    since: str
    until: str
    currency: str
    lines: tuple[Line, ...]
    total: str
    version: Literal[1] = 1


def read_tariff(text: str) -> Tariff:
    """Return the tariff written in TOML.

    Raises:
        MalformedError: ``tariff.malformed``.
    """
    try:
        tariff = msgspec.convert(tomllib.loads(text), Tariff)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MalformedError("tariff.malformed", str(error), next_step="docs/audit.md has an example") from error
    for price in tariff.price:
        amount = exact(price.amount)
        if amount is None or amount < 0 or price.per < 1 or price.free < 0:
            raise MalformedError("tariff.malformed", f"{price.item}: not a price: {price.amount} per {price.per}")
    keys = [(price.item, price.contract, price.analyst) for price in tariff.price]
    if len(set(keys)) != len(keys) or not 0 <= tariff.digits <= 6:
        raise MalformedError("tariff.malformed", "two prices for the same thing, or an impossible number of digits")
    return tariff


def signed_tariff(contracts: Mapping[str, Contract], *dids: str) -> Tariff:
    """Return the prices that the parties of contracts (by digest) have signed for a broker, as one tariff.

    ``dids`` are those the broker has and had: what was signed under a former key is owed too.

    Raises:
        ContractError: ``contract.tariff``: no contract states any, or in several currencies.
    """
    found = []
    for contract in contracts.values():
        names = {one.name for one in contract.brokers if one.did in dids}
        found += [read_tariff(price_list(contract, t.broker)) for t in contract.prices if t.broker in names]
    if len({tariff.currency for tariff in found}) != 1:
        raise ContractError(
            "contract.tariff",
            "the contracts state no prices of this broker, or in several currencies",
            clause="tariffs",
            next_step="give a price list with --tariff",
        )
    prices = [price for tariff in found for price in tariff.price]
    return Tariff(found[0].currency, tuple(sorted(prices, key=lambda price: (price.contract, price.item))))


class Meter:
    """Adds up what the charges of a log used; feed it with :meth:`add`, in any order."""

    def __init__(self, *, since: str = "", until: str = "") -> None:
        self._since, self._until = since, until
        self._counted: set[int] = set()
        self._used: dict[tuple[str, str], dict[Item, int]] = {}

    def add(self, charged: Charged) -> None:
        """Count a charge of the period. A release that charges several accounts of the broker is counted once."""
        entry = charged.entry
        if not self._since <= charged.time or (self._until and not charged.time < self._until):
            return
        key = hash((entry.contract, entry.charge_id))
        if key in self._counted:
            return
        self._counted.add(key)
        used = self._used.setdefault((entry.contract, entry.analyst), dict.fromkeys(ITEMS, 0))
        used["releases"] += 1
        used["rows"] += entry.usage.rows
        used["compute"] += entry.usage.compute
        used["models"] += entry.usage.models
        if entry.exits is not None:
            used["targets"] += len(entry.exits.targets)
            used["deliveries"] += entry.exits.name == "deliver"

    def invoice(self, tariff: Tariff, *, broker: str, checkpoint: str) -> Invoice:
        """Return the invoice of what was added."""
        lines = tuple(self._lines(tariff))
        total = sum((Fraction(line.amount) for line in lines), Fraction(0))
        return Invoice(
            broker=broker,
            checkpoint=checkpoint,
            tariff=canonical.digest(tariff),
            since=self._since,
            until=self._until,
            currency=tariff.currency,
            lines=lines,
            total=_money(total, tariff.digits),
        )

    def _lines(self, tariff: Tariff) -> Iterator[Line]:
        for (contract, analyst), used in sorted(self._used.items()):
            for item in ITEMS:
                price = _price(tariff, item, contract, analyst)
                if price is None or not used[item]:
                    continue
                charged = max(0, used[item] - price.free)
                amount = Fraction(price.amount) * charged / price.per
                yield Line(contract, analyst, item, used[item], charged, price.amount, price.per, str(amount))


def _price(tariff: Tariff, item: Item, contract: str, analyst: str) -> Price | None:
    fitting = [p for p in tariff.price if p.item == item and p.contract in ("", contract)]
    fitting = [p for p in fitting if p.analyst in ("", analyst)]
    return max(fitting, key=lambda p: (p.contract != "", p.analyst != ""), default=None)


def _money(amount: Fraction, digits: int) -> str:
    smallest = (amount * 10**digits + Fraction(1, 2)).__floor__()
    whole, part = divmod(smallest, 10**digits)
    return f"{whole}.{part:0{digits}d}" if digits else str(whole)
