"""``cl.match("table.column", keys)``: for units whose keys you have, whether a declared match column holds.

The answers are exact: no noise is in them, and the formal guarantee excludes them. They cost no privacy budget; the
contract limits how many units are asked about, and how often each. A key that no row can have is answered with False.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from cloister.contract.exits import MAX_TARGETS, MatchTerms
from cloister.contract.unit_keys import is_hashed, plain_keys
from cloister.contract.usage import Usage
from cloister.errors import CloisterError, ContractError, MalformedError, PlanError
from cloister.plan import algebra
from cloister.plan.codec import MAX_MATCH_BYTES
from cloister.plan.grid import MAX_TEXT
from cloister.sandbox.ask import checked
from cloister.sandbox.session import Session, current

OUTSIDE = "exact, outside the formal guarantee"
_MOST_BYTES = MAX_MATCH_BYTES // 2


class Answered(msgspec.Struct, frozen=True):
    """The reply to one match. ``salt`` opens the commitment that the receipt carries instead of the keys."""

    answers: str
    release: str
    commitment: str
    salt: str
    recalled: bool
    mode: str
    assurance: str
    receipt: dict[str, Any] | None = None


class _Priced(msgspec.Struct, frozen=True):
    deadline_ms: int
    usage: Usage


@dataclasses.dataclass(frozen=True)
class Matched:
    """The facts of a match: its requests to the vault, each with the plan that was sent and the reply."""

    table: str
    column: str
    targets: int
    parts: tuple[tuple[algebra.Match, Answered], ...] = ()

    @property
    def recalled(self) -> bool:
        """Whether all of it was asked before: the same answers, and nothing was counted."""
        return all(answered.recalled for _, answered in self.parts)

    @property
    def receipts(self) -> tuple[dict[str, Any], ...]:
        """The signed receipts (DSSE envelopes): a commitment and a count, neither keys nor answers. A mock has none."""
        return tuple(answered.receipt for _, answered in self.parts if answered.receipt is not None)

    def __str__(self) -> str:
        mocked = "MOCK, invented rows; " if any(answered.mode == "mock" for _, answered in self.parts) else ""
        units = f"{self.targets:,} unit{'' if self.targets == 1 else 's'}"
        return f"{mocked}match of {units} in {self.table}.{self.column}: {OUTSIDE}"


class MatchedFlag(int):
    """True or False, as an exact answer; it knows its facts."""

    def __new__(cls, value: bool, facts: Matched) -> MatchedFlag:
        """Return the answer to one key."""
        self = super().__new__(cls, value)
        self.facts = facts
        return self

    facts: Matched

    def __repr__(self) -> str:
        return f"{bool(self)}  ({self.facts})"

    __str__ = __repr__


class MatchedSeries(pd.Series):
    """A Series of bool that says what it is; what is computed from it is a plain Series."""

    _metadata = ("facts",)
    facts: Matched

    @property
    def _constructor(self) -> Any:
        return pd.Series

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n({self.facts})"


@dataclasses.dataclass(frozen=True)
class MatchCost:
    """What a match uses of the contract. Nothing was asked to find out, and no privacy budget pays for it."""

    targets: int
    requests: int
    per_contract: int
    per_target: int
    deadline_ms: int
    usage: Usage

    def __repr__(self) -> str:
        return (
            f"match of {self.targets:,} units: {OUTSIDE}\n"
            f"privacy budget: nothing; the contract allows {self.per_contract:,} units in all, each at most "
            f"{self.per_target:,} times\n"
            f"planned: {self.requests} request{'' if self.requests == 1 else 's'}, {self.deadline_ms / 1000:,.2f} s, "
            f"{self.usage.rows:,} rows scanned"
        )


class Match:
    """Call it to ask; ``.cost(...)`` says what that would use, and asks nothing."""

    @checked("cl.match")
    def __call__(self, column: str, keys: Any) -> MatchedFlag | MatchedSeries:
        """Return for each key whether the match column holds for that unit.

        Args:
            column: ``"table.column"`` of a match clause of the contract.
            keys: One unit key (text or a whole number), or a Series, Index, array or list of them.

        Returns:
            One answer, or a Series of bool: with the index of a Series given, or else with the keys as index.

        Raises:
            ContractError: ``exit.match``: the contract has no such clause.
            BudgetError: ``limit.match`` or ``limit.target``; a limit of the contract would be passed.
            CloisterError: Any other refusal.
        """
        session = current()
        terms = _terms(session, column)
        given, index = _given(keys)
        texts = _texts(session, terms, given)
        answers: dict[str, bool] = {}
        parts: list[tuple[algebra.Match, Answered]] = []
        plans = list(_plans(terms, texts))
        for plan in plans:
            try:
                answered = _convert(session.exit("release", plan), Answered)
            except CloisterError as error:
                if not parts:
                    raise
                raise _stopped(error, len(answers), sum(len(one.targets) for one in plans)) from error
            if len(answered.answers) != len(plan.targets) or set(answered.answers) - {"0", "1"}:
                raise _wrong_reply()
            answers.update(zip(plan.targets, (letter == "1" for letter in answered.answers), strict=True))
            parts.append((plan, answered))
        facts = Matched(terms.table, terms.column, len(answers), tuple(parts))
        found = [text is not None and answers[text] for text in texts]
        if index is None:
            return MatchedFlag(found[0], facts)
        series = MatchedSeries(found, index=index, name=terms.column, dtype=bool)
        series.facts = facts
        return series

    @checked("cl.match.cost")
    def cost(self, column: str, keys: Any) -> MatchCost:
        """Return what a match would use of the contract; takes what the call takes.

        Raises:
            ContractError: ``exit.match``: the contract has no such clause.
        """
        session = current()
        terms = _terms(session, column)
        given, _ = _given(keys)
        plans = list(_plans(terms, _texts(session, terms, given)))
        priced = [_convert(session.exit("price", plan), _Priced) for plan in plans]
        total = Usage(*(sum(getattr(one.usage, name) for one in priced) for name in Usage.__struct_fields__))
        return MatchCost(
            targets=sum(len(plan.targets) for plan in plans),
            requests=len(plans),
            per_contract=terms.per_contract,
            per_target=terms.per_target,
            deadline_ms=sum(one.deadline_ms for one in priced),
            usage=total,
        )

    def __repr__(self) -> str:
        return "<match: call it with a column and keys, or .cost(...) for what that uses>"


def _terms(session: Session, column: str) -> MatchTerms:
    """Return the clause for ``"table.column"``; the table may be named in short where that is clear."""
    clauses = session.about.contract.outside.matches
    if not isinstance(column, str):
        raise PlanError("api.match", "a match column is named by text", nearest=_nearest(clauses))
    table, _, name = column.rpartition(".")
    found = [own for own in clauses if own.column == name and table in (own.table, own.table.rpartition(".")[2])]
    if len(found) == 1:
        return found[0]
    raise ContractError(
        "exit.match",
        f"the contract has no match clause for {column[:120]!r}",
        clause="exits.matches",
        nearest=_nearest(clauses),
        next_step=""
        if clauses
        else "Ask the data providers for a contract with a match clause; cl.contract() shows it.",
    )


def _nearest(clauses: Iterable[MatchTerms]) -> tuple[str, ...]:
    return tuple(f'cl.match("{own.table}.{own.column}", keys)' for own in clauses)


def _given(keys: Any) -> tuple[list[Any], pd.Index[Any] | None]:
    """Return the keys as a list, and the index of the answers; None for a single key."""
    if keys is None or isinstance(keys, str | bytes | numbers.Number | np.generic) or keys is pd.NA:
        return [keys], None
    if isinstance(keys, pd.Series):
        # Numbers keep the type they are stored in, which says how exact they are.
        return list(keys.to_numpy()) if isinstance(keys.dtype, np.dtype) else keys.tolist(), keys.index
    if isinstance(keys, pd.Index | np.ndarray | list | tuple) and getattr(keys, "ndim", 1) == 1:
        listed = list(keys)
        return listed, pd.Index(listed, dtype=object)
    raise PlanError(
        "api.match",
        f"keys are text or whole numbers, one or a list of them; this is a {type(keys).__name__}",
        next_step="the keys are your own; rows of the providers cannot be asked about",
        nearest=('cl.match("list.person", ["A1", "B2"])', 'cl.match("list.person", mine["person"])'),
    )


def _texts(session: Session, terms: MatchTerms, keys: Iterable[Any]) -> list[str | None]:
    """Return keys as they are sent.

    Raises:
        PlanError: ``match.hashed``: plain keys, and the table has hashed ones.
    """
    texts = [_text(key) for key in keys]
    if session.card(terms.table).salt_id and not all(is_hashed(text) for text in texts if text is not None):
        raise plain_keys(terms.table)
    return texts


def _text(key: Any) -> str | None:
    """Return a key as it is sent, or None for one that no row can have: nothing is asked about it."""
    if isinstance(key, str):
        return _stored(key)
    if isinstance(key, bool | np.bool_ | bytes):
        raise PlanError(
            "api.match",
            f"a {type(key).__name__} is no unit key",
            next_step="write keys as text or whole numbers, like the table's own",
        )
    if isinstance(key, float | np.floating) and key.is_integer():
        # A column of whole numbers with a missing one is of floats in pandas; from here on they are rounded.
        if abs(key) >= 2 ** (np.finfo(type(key)).nmant + 1):
            raise PlanError(
                "api.match",
                f"a key is a {type(key).__name__} too large to be exact; it may stand for another unit",
                next_step='read such keys as text (dtype=str) or as whole numbers (dtype="Int64")',
            )
        return str(int(key))
    if isinstance(key, numbers.Integral):
        return str(int(key))
    return None


def _stored(key: str) -> str | None:
    # Longer keys are stored cut there; a lone surrogate is no text that could be stored.
    stored = key.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in key)
    return key[:MAX_TEXT] if key.strip() and stored else None


def _plans(terms: MatchTerms, texts: Iterable[str | None]) -> Iterator[algebra.Match]:
    """Yield the requests: every key once, as many as fit into each."""
    part: list[str] = []
    size = 0
    for text in dict.fromkeys(text for text in texts if text is not None):
        taken = len(text.encode()) + 8
        if part and (len(part) >= MAX_TARGETS or size + taken > _MOST_BYTES):
            yield algebra.Match(terms.table, terms.column, tuple(part))
            part, size = [], 0
        part.append(text)
        size += taken
    if part:
        yield algebra.Match(terms.table, terms.column, tuple(part))


def _stopped(error: CloisterError, asked: int, total: int) -> CloisterError:
    """Return what stopped a match of several requests, with how many units the contract has counted before it."""
    return type(error)(
        error.code,
        f"{error.reason}; {asked:,} of {total:,} units were asked before this and count",
        clause=error.clause,
        next_step=f"{error.next_step}; the first {asked:,} keys asked again, in one call, are recalled at no count",
        nearest=error.nearest,
    )


def _convert(value: dict[str, Any], kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _wrong_reply() from error


def _wrong_reply() -> MalformedError:
    return MalformedError(
        "link.reply",
        "the vault's reply does not fit the question",
        next_step="restart the kernel; report it if it stays",
    )
