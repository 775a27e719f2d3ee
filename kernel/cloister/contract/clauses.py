"""Optional clauses of a contract. Each is written only where the parties use it, and each has somebody who enforces it.

``access`` and ``rows``: the vault, before anything is charged (``contract/access.py``). ``approvers``: vault and broker
(``contract/approvals.py``). ``pack``: the vault (``contract/packs.py``). ``obligations``: vault (*export*) and broker
(*completion*, *expiry*). ``tariffs``: the price list of invoices (``contract/tariffs.py``). ``hosts`` and ``software``:
whoever appraises the enclave, analyst and broker (``attest/agreed.py``). ``display_mark``: the
analyst's proxy asks the Lab extension for it (``analyst/standing.py``). A contract without one of them is written
without it, and has the digest it always had.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class RowLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which rows an analyst may ask about: those whose ``column`` is one of ``values``, or from ``low`` to ``high``.

    Bounds are inclusive, written as on the card (an ISO date, an exact decimal); either may be left out. A row without
    a value is outside.
    """

    column: str
    values: tuple[str, ...] = ()
    low: str = ""
    high: str = ""


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one analyst may ask of one table: these columns, of these rows, for these purposes, in this time.

    Key columns that only say which rows are of one unit need no mention. No ``rows``: all of them. No ``purposes``:
    those of the contract. No times: those of the contract. Once a contract has the clause, what it does not grant is
    refused.
    """

    analyst: str
    table: str
    columns: tuple[str, ...]
    rows: tuple[RowLimit, ...] = ()
    purposes: tuple[str, ...] = ()
    not_before: str = ""
    not_after: str = ""


class Approver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person (name, did:key) who may approve what is asked of the tables of one ``provider``."""

    name: str
    did: str
    provider: str


class PackTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tier rules the parties agree on, by name and digest, so that nobody's installation has other ones."""

    name: str
    digest: str


class Obligation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be done when something happens.

    ``export`` / ``approval``: a delivery needs an approval of two persons beside its clause. ``completion`` or
    ``expiry`` / ``destroy-keys``: the broker destroys the data keys of the contract's tables at its end, unless another
    contract that is still alive needs them; the capsules can then not be opened any more.
    """

    on: Literal["export", "completion", "expiry"]
    do: Literal["approval", "destroy-keys"]


class Software(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which code may run: that of releases signed by one of ``signers`` (did:key), of version ``minimum`` or newer.

    After a broker admitted a higher version it admits lower ones for ``overlap_days`` more, and then no more.
    """

    signers: tuple[str, ...]
    minimum: str
    overlap_days: int = 0


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a broker's provider charges, in exact decimals of a currency.

    ``release`` per release, ``rows`` per million rows scanned by declared size, ``compute`` per second of planned
    computing, ``model`` per model.
    """

    broker: str
    currency: str
    release: str = "0"
    rows: str = "0"
    compute: str = "0"
    model: str = "0"
