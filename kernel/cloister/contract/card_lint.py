"""Lint of data cards: what the vault could not enforce, or what would release more than the provider means to."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from cloister.contract import findings
from cloister.contract.card import OTHER, Card, Column
from cloister.contract.findings import Finding, error, exact, iso_date, twice, warning

_TODO = re.compile(r"\bTODO\b")
MAX_DOMAIN = 10_000
MAX_TEXT = 256
MAX_GRID = 2**40
MAX_ROWS = 10**9


def card_findings(card: Card) -> tuple[Finding, ...]:
    """Return what is wrong with a card; empty means it can be signed."""
    columns = (f for column in card.columns for f in _column(card, column))
    return (*findings.unreadable(card, "card.text"), *_todo(card), *_card_head(card), *_card_key(card), *columns)


def _todo(card: Card) -> Iterator[Finding]:
    """What `card suggest` guessed is marked, so that nobody signs a guess that nobody has read."""
    texts = {
        name: getattr(card, name) for name in ("title", "description", "unit", "population", "source", "retention")
    }
    texts |= {f"columns.{column.name}.description": column.description for column in card.columns}
    texts["purposes"] = " ".join(card.purposes)
    for clause, text in texts.items():
        if _TODO.search(text):
            yield error(
                "card.todo", clause, "a guess that waits for you", "confirm or correct it, in words without TODO"
            )


def _card_head(card: Card) -> Iterator[Finding]:
    for clause in ("name", "title", "description", "unit", "population", "source", "retention"):
        if findings.is_wildcard(getattr(card, clause)):
            yield error("card.empty", clause, f"{clause} is empty or a wildcard", "say it in words")
    for name in twice(column.name for column in card.columns):
        yield error("card.duplicate", f"columns.{name}", "two columns with one name", "rename or drop one")
    if not card.columns:
        yield error("card.columns", "columns", "no columns", "declare at least one column")
    if not 1 <= card.row_limit <= MAX_ROWS:
        yield error("card.rows", "row_limit", "the size class is no sensible number", "for example 131072")
    if not 1 <= card.rows_per_unit <= max(card.row_limit, 1):
        yield error(
            "card.rows",
            "rows_per_unit",
            "must lie between 1 and the size class",
            "the most rows one unit may keep; the others are dropped",
        )
    if not card.purposes:
        yield error("card.purposes", "purposes", "no purpose", "name what the table may be used for")
    for purpose in card.purposes:
        if findings.is_wildcard(purpose):
            yield error("card.wildcard", "purposes", f"{purpose!r} permits everything", "name each purpose")
    if card.order is not None and card.column(card.order) is None:
        yield error("card.order", "order", f"no column {card.order!r}", "name a declared column or leave it out")


def _card_key(card: Card) -> Iterator[Finding]:
    if card.unit != "none" and not card.key:
        yield error(
            "card.key", "key", f"no key column for the unit {card.unit!r}", "name the column that identifies it"
        )
    if card.hashed is not msgspec.UNSET:
        yield from _hashed(card)
    for name in twice(card.key):
        yield error("card.key", "key", f"{name!r} is named twice", "once is enough")
    for name in card.key:
        column = card.column(name)
        if column is None:
            yield error("card.key", "key", f"no column {name!r}", "declare the key column")
        elif card.unit == "none":
            # The key of a reference table is what others look up: a column like any other, declared below.
            if column.type in ("string", "bool", "int", "date"):
                continue
            yield error(
                "card.key",
                f"columns.{name}",
                "a reference table is looked up by a category, a condition, a whole number or a date",
                "look up by another column",
            )
        elif column.type not in ("string", "int"):
            yield error("card.key", f"columns.{name}", "a key is text or a whole number", "declare it as string or int")
        elif column.domain is not None:
            yield error(
                "card.key-released",
                f"columns.{name}.domain",
                "a unit key with a domain could be grouped by, which would release single units",
                "remove the domain; a key only aligns rows of one unit",
            )


def _hashed(card: Card) -> Iterator[Finding]:
    if not findings.is_digest(card.salt_id):
        yield error("card.hashed", "hashed", "not the id of a salt", "`cloister unit-keys salt FILE` prints it")
    if card.unit == "none" or not card.key:
        yield error("card.hashed", "hashed", "a table without unit has no keys to hash", "leave it out")
    for name in card.key:
        column = card.column(name)
        if column is not None and column.type != "string":
            yield error("card.hashed", f"columns.{name}", "a hashed key is text", "declare the column as string")


def _column(card: Card, column: Column) -> Iterator[Finding]:
    clause = f"columns.{column.name}"
    if findings.is_wildcard(column.name) or len(column.name) > MAX_TEXT or column.name.startswith("__"):
        yield error("card.name", clause, "not a column name", "letters, digits and underscores")
    if findings.is_wildcard(column.description):
        yield warning("card.empty", f"{clause}.description", "no description", "say what the column means")
    if column.personal and column.tier == 1:
        yield warning("card.tier", f"{clause}.tier", "personal information in tier 1 (public)", "tier 2 or above")
    if column.tier >= 4 and not card.identifies(column.name):
        yield warning(
            "card.tier",
            f"{clause}.tier",
            f"tier {column.tier} is not released in aggregates",
            "drop the column, or lower its tier with a reason the contract approves",
        )
    if column.type in ("int", "decimal"):
        yield from _number(clause, column, is_key=card.identifies(column.name))
    elif column.type == "date":
        yield from _date(clause, column)
    elif any(value is not None for value in (column.low, column.high, column.step)):
        yield error("card.bounds", clause, f"a {column.type} has no bounds", "remove low, high and step")
    if column.type == "string":
        yield from _text(clause, column, is_key=card.identifies(column.name))
    elif column.domain is not None:
        yield error("card.domain", f"{clause}.domain", f"a {column.type} has no domain", "remove it, or declare text")


def _number(clause: str, column: Column, *, is_key: bool) -> Iterator[Finding]:
    if is_key and column.low is None and column.high is None and column.step is None:
        return
    low, high, step = exact(column.low), exact(column.high), exact(column.step)
    if low is None or high is None or step is None:
        yield error(
            "card.bounds",
            clause,
            "a number needs low, high and step as exact text",
            "public knowledge, not the data's own minimum and maximum: for example 0, 110, 1",
        )
        return
    if low >= high:
        yield error("card.bounds", clause, "low must be below high", "give the range the column can have")
    elif step <= 0 or (high - low) % step:
        yield error(
            "card.step", f"{clause}.step", "step must be positive and divide high - low", "for example 1 or 0.1"
        )
    elif (high - low) / step > MAX_GRID:
        yield error("card.step", f"{clause}.step", "the grid is too fine", "a coarser step, or narrower bounds")
    elif low % step:
        yield error(
            "card.grid",
            f"{clause}.low",
            "0 is not on the grid, so sums could not be exact",
            "choose low, high and step as multiples of one step",
        )
    if column.type == "int" and any(value.denominator != 1 for value in (low, high, step)):
        yield error("card.bounds", clause, "bounds and step of an int are whole numbers", "declare it as decimal")


def _date(clause: str, column: Column) -> Iterator[Finding]:
    low, high = iso_date(column.low), iso_date(column.high)
    if low is None or high is None:
        yield error("card.bounds", clause, "a date needs low and high as YYYY-MM-DD", "for example 2022-01-01")
    elif low >= high:
        yield error("card.bounds", clause, "low must be before high", "give the range the column can have")
    if column.step not in (None, "1"):
        yield error("card.step", f"{clause}.step", "the step of a date is one day", "remove it")


def _text(clause: str, column: Column, *, is_key: bool) -> Iterator[Finding]:
    if column.domain is None:
        if not is_key:
            yield error(
                "card.domain",
                clause,
                "text without a domain can only be a unit key",
                "list the categories (everything else becomes '(other)'), or drop the column",
            )
        return
    if not 1 <= len(column.domain) <= MAX_DOMAIN:
        yield error("card.domain", f"{clause}.domain", f"a domain has 1 to {MAX_DOMAIN} values", "list the categories")
    for value in twice(column.domain):
        yield error("card.domain", f"{clause}.domain", f"{value!r} is listed twice", "each category once")
    if OTHER in column.domain:
        yield error("card.domain", f"{clause}.domain", f"{OTHER!r} is always there", "leave it out of the list")
    if any(not value or len(value) > MAX_TEXT for value in column.domain):
        yield error("card.domain", f"{clause}.domain", f"a category has 1 to {MAX_TEXT} characters", "shorten it")
