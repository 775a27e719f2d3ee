"""What of a plan its asker is permitted: rows and columns he is granted, tiers, approvals, and when.

Refusals depend on plan, card, contract, approvals and the broker's clock only (G4).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from cloister.contract import access, packs
from cloister.contract.approvals import Approved
from cloister.contract.card import Card, Column
from cloister.contract.findings import parse_time
from cloister.errors import ContractError
from cloister.plan import row_limits
from cloister.plan.grid import Uses
from cloister.plan.link import Context
from cloister.plan.typing import NO_UNIT
from cloister.vault.config import Terms


class Grant(NamedTuple):
    """What a plan may read: its tables' cards, those of them with a unit, and the operation it counts as.

    ``keyed_by``: the tables whose keys hide what is asked and seal what is deposited, where they are not those read.
    ``choices``: for every approval that is needed, those that meet the need, the newest first: which of them holds is
    known once the brokers' time is (``check_times``). ``asker``: the analyst whose times count. ``delivery``: of a
    delivery, the digest of its plan. ``reads``: the (table, column) that what leaves depends on.
    """

    tables: tuple[str, ...]
    scanned: tuple[str, ...]
    cards: dict[str, Card]
    operation: str
    keyed_by: tuple[str, ...] = ()
    choices: tuple[tuple[Approved, ...], ...] = ()
    asker: str = ""
    delivery: str = ""
    reads: frozenset[tuple[str, str]] = frozenset()

    @property
    def approvals(self) -> tuple[Approved, ...]:
        """The approvals it rests on, in the order of their digests."""
        return tuple(sorted({choice[0] for choice in self.choices}, key=lambda one: one.digest))

    @property
    def keyed(self) -> tuple[str, ...]:
        """The tables whose keys are taken."""
        return self.keyed_by or self.tables


def check_rows(plan: Any, tables: Iterable[str], context: Context, terms: Terms) -> None:
    """Check that the asker is granted these tables, and that a plan begins with the rows that are granted of each.

    Raises:
        ContractError: ``contract.access``, ``contract.purpose``, ``contract.rows``.
    """
    wanted = {}
    for name in tables:
        access.check_table(terms.contract, context.analyst, name, context.purpose)
        wanted[name] = row_limits.granted(terms.contract, context.analyst, terms.cards[name])
    if beyond := row_limits.beyond(plan, wanted):
        raise access.rows_refused(beyond)


def check_reads(uses: Uses, grant: Grant, context: Context, terms: Terms) -> Grant:
    """Check access to, and the tiers of, everything an analysed plan depends on, however it was named on the way.

    ``granted`` looks at names before the analysis; this looks at what the analysis found, and refuses the same.

    Raises:
        ContractError: ``contract.access``, ``contract.tier``, or what an approval lacks.
    """
    return permitted(((table, name) for table, name in uses), grant, context, terms)


def permitted(used: Iterable[tuple[str, str]], grant: Grant, context: Context, terms: Terms) -> Grant:
    """Return the grant with the approvals that these (table, column) need, if the asker may use every one of them.

    Raises:
        ContractError: See ``check_reads``.
    """
    found, used = dict.fromkeys(grant.choices), frozenset(used)
    for table, name in sorted(used):
        card = terms.cards[table]
        column = card.column(name)
        if column is None:
            continue
        if not _says_whose(card, name):
            access.check_columns(terms.contract, context.analyst, table, [name])
        if choice := _check_tier(card, column, grant, context, terms):
            found[choice] = None
    return grant._replace(choices=tuple(found), reads=grant.reads | used)


def result_tier(grant: Grant, terms: Terms) -> int:
    """Return the tier that what leaves is handled by: of the most sensitive column it depends on, as it was lowered.

    Lowering takes two persons, whatever else a tier's rule asks for (PBoC draft, article 21).
    """
    found = [1]
    for table, name in grant.reads:
        column = terms.cards[table].column(name)
        if column is not None:
            lowered = [
                one.approval.lowers_to
                for one in grant.approvals
                if one.approval.lowers_to and _covers(one, table, name) and len(set(one.approvers)) >= 2
            ]
            found.append(min([column.tier, *lowered]))
    return max(found)


def _covers(approved: Approved, table: str, column: str) -> bool:
    return approved.approval.table == table and column in approved.approval.columns


def check_export(uses: Uses, grant: Grant, context: Context, terms: Terms) -> Grant:
    """Return the grant of a delivery with the approvals that the obligation on exports asks for, of every table.

    Such an approval names exactly this plan, hence its receiver, and every column of the table that the plan uses.

    Raises:
        ContractError: ``contract.export``.
    """
    if not any(duty.on == "export" for duty in terms.contract.duties):
        return grant
    found = dict.fromkeys(grant.choices)
    for name in grant.tables:
        needed = {column for table, column in uses if table == name and _is_named(terms.cards[name], column)}
        about = (one for one in terms.approvals if _is_about(one, name, grant, context))
        choice = _newest_first(one for one in about if _approves_export(one, needed, grant))
        if not choice:
            raise ContractError(
                "contract.export",
                f"a delivery made of {name} needs an approval of just this delivery by two persons beside its clause",
                clause="obligations.export",
                next_step=f"Ask for it: cloister approval request --table {name} --operation deliver "
                f"--plan {grant.delivery}{''.join(f' --column {column}' for column in sorted(needed))}.",
            )
        found[choice] = None
    return grant._replace(choices=tuple(found))


def _approves_export(approved: Approved, needed: set[str], grant: Grant) -> bool:
    asked = approved.approval
    return asked.plan == grant.delivery and needed <= set(asked.columns) and len(approved.approvers) >= 2


def _is_about(approved: Approved, table: str, grant: Grant, context: Context) -> bool:
    """Whether an approval is about this asker, table, purpose and operation, and about no other delivery."""
    asked = approved.approval
    about = (asked.analyst, asked.table, asked.purpose) == (context.analyst, table, context.purpose)
    return about and grant.operation in asked.operations and asked.plan in {msgspec.UNSET, grant.delivery}


def _says_whose(card: Card, name: str) -> bool:
    """Whether a column is a unit's key, which every plan reads; that of a reference table is one like the others."""
    return card.unit != NO_UNIT and name in card.key


def _is_named(card: Card, name: str) -> bool:
    return card.column(name) is not None and not _says_whose(card, name)


def check_times(grant: Grant, terms: Terms, now: Callable[[str], str]) -> Grant:
    """Return the grant with approvals that hold, if it and access do at the time of each table's broker.

    Of several approvals that hold the newest counts: a renewed one takes the place of the one before, though that is
    still on file.

    Raises:
        ContractError: ``contract.access-time``, ``approval.expired``.
    """
    for name in grant.tables:
        access.check_time(terms.contract, grant.asker, name, now(name))
    chosen = []
    for choice in grant.choices:
        holding = tuple(one for one in choice if one.approval.holds_at(now(one.approval.table)))
        if not holding:
            newest = choice[0].approval
            raise ContractError(
                "approval.expired",
                f"the approval for {newest.table} holds from {newest.not_before} until {newest.not_after}",
                clause="approval.not_after",
                next_step="Ask for a new approval: cloister approval request.",
            )
        chosen.append(holding[:1])
    return grant._replace(choices=tuple(dict.fromkeys(chosen)))


def _newest_first(found: Iterable[Approved]) -> tuple[Approved, ...]:
    """Return approvals in the order in which their times begin, the latest first."""

    def begins(one: Approved) -> tuple[datetime.datetime, datetime.datetime, str]:
        return parse_time(one.approval.not_before), parse_time(one.approval.not_after), one.digest

    return tuple(sorted(found, key=begins, reverse=True))


def _check_tier(card: Card, column: Column, grant: Grant, context: Context, terms: Terms) -> tuple[Approved, ...]:
    """Return the approvals each of which is what a column needs for the operation; none if it needs none."""
    operation = grant.operation
    pack = packs.of(terms.contract)
    rule = pack.rule(column.tier, operation)
    if rule.decision == "allow":
        return ()
    found, lacks = [], "which this contract does not carry"
    for approved in terms.approvals if rule.decision == "approval" else ():
        if _is_about(approved, card.name, grant, context) and column.name in approved.approval.columns:
            lack = packs.meets(rule, approved, highest=pack.highest_result)
            if not lack:
                found.append(approved)
            lacks = f"and there is one, but {lack}"
    if found:
        return _newest_first(found)
    whose = f"tiers {column.tier} and up" if pack.name else "tiers 4 and 5"
    signed = "two persons" if rule.approvers == 2 else f"{rule.approvers} person{'' if rule.approvers == 1 else 's'}"
    clause = f"{whose} need an approval signed by {signed}, {lacks}"
    if rule.decision == "refuse":
        clause = f"the pack {pack.name} refuses {operation} at tier {column.tier}"
    what = {"match": "no match with", "deliver": "no delivery of"}.get(operation, "no aggregate of")
    raise ContractError(
        "contract.tier",
        f"column {column.name} of {card.name} is of tier {column.tier}: {what} it may leave",
        clause=clause,
        next_step="Leave the column out, or ask the provider for an approval.",
    )
