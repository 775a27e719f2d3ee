"""What page and proxy say to each other (docs/protocol.md, section 8), and the checks of what a page sends.

The TypeScript twin is ``extension/src/protocol.ts``; ``tests/analyst/test_page_twin.py`` compares the two field by
field. Nothing here can spend budget: the page asks, and the proxy on the analyst's own machine answers. What a page
sends is anybody's text (any script in the page can open a comm), so it is held to its size and shape before anything
else happens.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import msgspec

from cloister.errors import CloisterError, MalformedError

TARGET = "cloister.status"
KIB, MIB = 2**10, 2**20
LIMITS = {"refresh": 4 * KIB, "estimate": 4 * MIB, "check": 4 * MIB, "verify": 32 * MIB, "bundle": 32 * MIB}
"""The most bytes of each type of message from the page."""
Id = Annotated[str, msgspec.Meta(max_length=128)]
"""A name the page chose for its ask; the answer quotes it."""


class Refusal(TypedDict):
    """Why something was refused, and what to do about it."""

    code: str
    reason: str
    clause: str
    next_step: str


class ChecklistItem(TypedDict):
    """One line of the enclave's checklist."""

    name: Literal["hardware", "code", "fresh", "session", "placement", "isolation"]
    state: Literal["ok", "warn", "fail", "unknown"]
    text: str


class PrivacyLimit(TypedDict):
    """A privacy budget of one population at one broker: rho, or delta for keys, as exact fractions in text.

    ``excludes`` says what the formal guarantee excludes under this contract; empty if nothing.
    """

    name: Literal["privacy", "delta"]
    population: str
    broker: str
    spent: str
    limit: str
    analyst_spent: str
    analyst_limit: str
    excludes: str


class SilentLimit(TypedDict):
    """A privacy budget whose broker does not answer now; the other limits are known all the same."""

    name: Literal["silent"]
    population: str
    broker: str
    reason: str


class CountLimit(TypedDict):
    """A limit that counts something."""

    name: Literal["releases", "rows", "compute", "models"]
    spent: int
    limit: int


class ExpiryLimit(TypedDict):
    """When the contract ends (RFC 3339)."""

    name: Literal["expiry"]
    not_after: str


class OwnAlert(TypedDict):
    """An alert at a broker about this analyst: the rule in the broker's words, what was counted, when, how much.

    ``bucket`` is an hour or a day (UTC) as RFC 3339 begins.
    """

    broker: str
    rule: int
    text: str
    what: str
    bucket: str
    count: int
    most: int


class Budget(TypedDict):
    """The result of op ``budget``: every limit of the contract, and alerts at its brokers about this analyst."""

    limits: list[PrivacyLimit | SilentLimit | CountLimit | ExpiryLimit]
    alerts: list[OwnAlert]
    time: str


class StatusMessage(TypedDict):
    """The proxy's own word about the enclave: sent on open, on change and on ``refresh``.

    ``display_mark``: who looks and under which contract, to be laid over what is displayed, with the time; empty if the
    contract asks for no mark.
    """

    type: Literal["status"]
    version: str
    entry: str
    mode: Literal["confidential", "mock", "replay"]
    state: Literal["dialling", "open", "refused", "lost", "dead"]
    assurance: str | None
    word: str
    tone: Literal["green", "amber", "red", "grey"]
    session: str
    promote: str
    kernel_started: bool
    checklist: list[ChecklistItem]
    error: Refusal | None
    budget: Budget | None
    releases: int
    time: str
    display_mark: str


class Column(TypedDict):
    """One column of the catalogue; ``tier`` is the sensitivity its provider declared, 1 to 5."""

    name: str
    type: str
    tier: int
    about: str


class Table(TypedDict):
    """One table of the catalogue; ``tier`` is the highest of its columns."""

    name: str
    title: str
    unit: str
    rows_per_unit: int
    tier: int
    columns: list[Column]


class ContractMessage(TypedDict):
    """The contract in plain words, its validity (RFC 3339) and its tables."""

    type: Literal["contract"]
    digest: str
    title: str
    not_before: str
    not_after: str
    words: list[str]
    tables: list[Table]


class Cost(TypedDict):
    """What one account pays: epsilon at the contract's delta, and the part of the population's budget (``1.2 %``)."""

    population: str
    epsilon: str
    share: str


class ReceiptItem(TypedDict):
    """A release whose receipt this machine verified."""

    release: str
    receipt: str
    session: str
    question: str
    costs: list[Cost]
    time: str
    recalled: bool
    assurance: str
    cells: int


class ReceiptsMessage(TypedDict):
    """The last 200 releases of this session."""

    type: Literal["receipts"]
    total: int
    items: list[ReceiptItem]


class ReceiptMessage(TypedDict):
    """A release was verified just now."""

    type: Literal["receipt"]
    item: ReceiptItem


class CellEstimate(TypedDict):
    """The estimate of one cell; ``known`` is false if no mock kernel ran it. A release counts where first asked."""

    known: bool
    releases: int
    costs: list[Cost]


class EstimateMessage(TypedDict):
    """What the rehearsed cells would cost, per cell and in sum; ``unknown`` counts the others."""

    type: Literal["estimate"]
    id: Id
    cells: list[CellEstimate]
    total: list[Cost]
    unknown: int


class ChipVerdict(TypedDict):
    """Whether a chip of a saved notebook is what this machine's receipts say."""

    key: str
    state: Literal["verified", "foreign", "false"]
    reason: str


class CheckedMessage(TypedDict):
    """The answer to ``check``."""

    type: Literal["checked"]
    id: Id
    chips: list[ChipVerdict]


class VerifiedMessage(TypedDict):
    """The answer to ``verify``: the JSON of ``cloister verify --json``."""

    type: Literal["verified"]
    id: Id
    exit_code: int
    report: dict[str, Any]


class BundledMessage(TypedDict):
    """The answer to ``bundle``: for the notebook's metadata ``cloister.bundle``."""

    type: Literal["bundled"]
    id: Id
    bundle: dict[str, Any]


class ErrorMessage(TypedDict):
    """An ask that could not be answered."""

    type: Literal["error"]
    id: Id
    code: str
    reason: str
    next_step: str


class RefreshAsk(TypedDict):
    """Send ``status`` again."""

    type: Literal["refresh"]


class EstimateAsk(TypedDict):
    """What would these code cells cost?"""

    type: Literal["estimate"]
    id: Id
    cells: list[str]


class ChipAsk(TypedDict):
    """One chip as it stands in a notebook: the output's data and metadata."""

    key: Id
    data: dict[str, Any]
    metadata: dict[str, Any]


class CheckAsk(TypedDict):
    """Are these chips what the receipts say?"""

    type: Literal["check"]
    id: Id
    chips: list[ChipAsk]


class VerifyAsk(TypedDict):
    """Verify this notebook (nbformat 4)."""

    type: Literal["verify"]
    id: Id
    notebook: dict[str, Any]


class BundleAsk(TypedDict):
    """Give the receipts this notebook (nbformat 4) rests on."""

    type: Literal["bundle"]
    id: Id
    notebook: dict[str, Any]


Message = (
    StatusMessage | ContractMessage | ReceiptsMessage | ReceiptMessage
    | EstimateMessage | CheckedMessage | VerifiedMessage | BundledMessage | ErrorMessage
)  # fmt: skip


class NotebookAsk(msgspec.Struct, frozen=True):
    """A ``VerifyAsk`` or ``BundleAsk`` as read: the notebook stays the bytes it came as (it may have 32 MiB)."""

    type: Literal["verify", "bundle"]
    id: Id
    notebook: msgspec.Raw


Ask = RefreshAsk | EstimateAsk | CheckAsk | NotebookAsk


class _Named(msgspec.Struct, frozen=True):
    type: str
    id: Id = ""


_named = msgspec.json.Decoder(_Named)
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    "refresh": msgspec.json.Decoder(RefreshAsk),
    "estimate": msgspec.json.Decoder(EstimateAsk),
    "check": msgspec.json.Decoder(CheckAsk),
    "verify": msgspec.json.Decoder(NotebookAsk),
    "bundle": msgspec.json.Decoder(NotebookAsk),
}


def read_ask(raw: bytes) -> Ask:
    """Return what a page asks.

    Raises:
        MalformedError: ``page.type``: no such message; ``page.size``: larger than its type may be; ``page.shape``.
    """
    named = _decode(_named, raw)
    decoder = _decoders.get(named.type)
    if decoder is None:
        raise MalformedError("page.type", f"the proxy knows no message {named.type[:40]!r}", next_step=_OTHER_VERSION)
    if len(raw) > LIMITS[named.type]:
        raise MalformedError(
            "page.size",
            f"{named.type} takes at most {LIMITS[named.type] // KIB:,} KiB, this was {len(raw) // KIB:,} KiB",
            next_step="on the command line `cloister verify` and `cloister bundle` have no such limit",
        )
    ask: Ask = _decode(decoder, raw)
    if isinstance(ask, NotebookAsk) and not bytes(memoryview(ask.notebook)[:64]).lstrip().startswith(b"{"):
        raise MalformedError("page.shape", f"{named.type}: the notebook is no object", next_step=_OTHER_VERSION)
    return ask


def ask_id(raw: bytes) -> str:
    """Return the id of what may be no proper ask, for the answer that says so."""
    try:
        return _named.decode(raw).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def error_message(ask: str, error: CloisterError) -> ErrorMessage:
    """Return the answer to an ask that could not be answered."""
    return {"type": "error", "id": ask, "code": error.code, "reason": error.reason, "next_step": error.next_step}


_OTHER_VERSION = "reload the page; if it stays, page and kernel are of different versions of Cloister"


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            "page.shape", f"not a message of the protocol: {str(error)[:200]}", next_step=_OTHER_VERSION
        ) from error
