"""Packs: what each tier of data demands of each operation, as data, so that another authority's tiers are another file.

A contract names a pack and the digest of its file: a pack that was edited is another pack. A contract without one has
the rules that were always in force (``USUAL``): tiers 1 to 3 are free for everything, from tier 4 on there is *match*,
and anything else needs an approval by two persons. "Tier n and above" includes n (PBoC draft, article 55).
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Literal

import msgspec

from cloister.contract.approvals import Approved
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import ContractError
from cloister.wire import canonical

OPERATIONS = ("aggregate", "model", "match", "deliver")
NAMES = ("pboc-draft-2023", "beijing-4")
Need = Literal["nda", "necessity", "measures", "down-tier"]
_ORDER = ("allow", "approval", "refuse")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a tier demands of an operation.

    ``approval``: one that ``approvers`` persons signed, which states what it ``needs``, for at most ``days`` days (0:
    as long as the contract).
    """

    decision: Literal["allow", "approval", "refuse"]
    approvers: int = 0
    needs: tuple[Need, ...] = ()
    days: int = 0

    def stricter(self, other: Rule) -> bool:
        """Whether this demands at least what ``other`` does."""
        mine, its = _ORDER.index(self.decision), _ORDER.index(other.decision)
        if mine != its or self.decision != "approval":
            return mine >= its
        lasts = self.days if self.days else float("inf")
        return (
            self.approvers >= other.approvers
            and set(self.needs) >= set(other.needs)
            and lasts <= (other.days or float("inf"))
        )


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one tier."""

    tier: int
    aggregate: Rule
    model: Rule
    match: Rule
    deliver: Rule

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules by operation (``OPERATIONS``)."""
        return {"aggregate": self.aggregate, "model": self.model, "match": self.match, "deliver": self.deliver}


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A set of tier rules.

    Attributes:
        name: Its name in contracts.
        title: What it is, in a line.
        title_zh: The same in Chinese.
        tiers: How many there are.
        highest_result: What is handed to a notebook is of this tier at most; above it, an approval must lower it.
        source_days: How long the source of a cell that released something must be kept, sealed; 0: it is not kept. It
            lies with the receipt in the account, which never forgets, so it is kept longer than any number of days.
        importance: Whether cards must say that their data are general, important or core.
        left_out: Rules of its source that nothing here enforces, each with the reason.
        level: The rules, tier by tier.
        scheme: Whether tiers are of an axis of its own, so that cards must name it.
        display_mark: Whether what a notebook displays carries a mark of who looks, under which contract, and when.
        highest_stored: What is written when a notebook is saved rests on results of this tier at most (5: everything).
        storage: Why, in a line that names the article.
    """

    name: str
    title: str
    title_zh: str
    tiers: int
    highest_result: int
    source_days: int
    importance: bool
    left_out: tuple[str, ...]
    level: tuple[Level, ...]
    scheme: bool = False
    display_mark: bool = False
    highest_stored: int = 5
    storage: str = ""

    def rule(self, tier: int, operation: str) -> Rule:
        """Return the rule of a tier for an operation; what the pack does not know is refused."""
        found = next((level for level in self.level if level.tier == tier), None)
        if found is None or operation not in OPERATIONS:
            return Rule("refuse")
        return found.rules[operation]

    @property
    def digest(self) -> str:
        """Digest of all of it."""
        return canonical.digest(self)


def at_least(level: int, tier: int) -> bool:
    """Whether a tier is of level ``level`` and above, which includes it."""
    return tier >= level


_FREE, _TWO = Rule("allow"), Rule("approval", 2)
USUAL = Pack(
    name="",
    title="the usual tier rules",
    title_zh="通常的分层规则",
    tiers=5,
    highest_result=5,
    source_days=0,
    importance=False,
    left_out=(),
    level=tuple(
        Level(tier, *((_TWO, _TWO, _FREE, _TWO) if at_least(4, tier) else (_FREE, _FREE, _FREE, _FREE)))
        for tier in range(1, 6)
    ),
)


@functools.cache
def load(name: str) -> Pack:
    """Return a pack of this version.

    Raises:
        ContractError: ``pack.unknown``.
    """
    if name not in NAMES:
        raise ContractError(
            "pack.unknown",
            f"this version has no pack {name!r}",
            clause="pack",
            nearest=NAMES,
            next_step="install the version the contract was drafted with, or name another pack",
        )
    text = resources.files("cloister.contract").joinpath("pack_data", f"{name}.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Pack)


def of(contract: Contract) -> Pack:
    """Return the tier rules of a contract.

    Raises:
        ContractError: ``pack.unknown``, ``pack.digest``.
    """
    if isinstance(contract.pack, msgspec.UnsetType):
        return USUAL
    found = load(contract.pack.name)
    if found.digest != contract.pack.digest:
        raise ContractError(
            "pack.digest",
            f"the pack {found.name} of this version has other rules than the ones that were signed",
            clause="pack.digest",
            next_step="install the version the contract was drafted with, or sign the new digest",
        )
    return found


def marks_displays(contract: Contract) -> bool:
    """Whether displays carry a mark under a contract: by its own clause or its pack, or because its pack is unknown."""
    try:
        return contract.display_mark is True or of(contract).display_mark
    except ContractError:
        return True


def meets(rule: Rule, approved: Approved, *, highest: int | None = None) -> str:
    """Return what an approval lacks to satisfy a rule, in words, or ``""``; its time is not looked at.

    ``highest`` is the tier that a result may have: an approval that must lower it has to lower it that far.
    """
    approval = approved.approval
    if len(set(approved.approvers)) < rule.approvers:
        return f"{rule.approvers} approvers must sign, {len(set(approved.approvers))} did"
    said = {
        "nda": bool(approval.nda),
        "necessity": bool(approval.necessity.strip()),
        "measures": bool(approval.measures.strip()),
        "down-tier": 0 < approval.lowers_to <= (highest or 0),
    }
    missing = [need for need in rule.needs if not said[need]]
    if missing:
        return "it does not state " + ", ".join(missing)
    if rule.days and approval.days > rule.days:
        return f"it may hold {rule.days} days at most"
    return ""


def tier_of_free_text(card: Card) -> int:
    """Return the lowest tier that free text of a card may have: that of the most sensitive of the other columns.

    Article 9 of the PBoC draft: what has no structure takes the highest tier of what can be separated from it. What
    that is, nobody can say of text, so everything the table says about a person is taken.
    """
    return max((column.tier for column in card.columns if not is_free_text(card, column.name)), default=1)


def is_free_text(card: Card, name: str) -> bool:
    """Whether a column is text without declared categories; unit keys are not."""
    column = card.column(name)
    return column is not None and column.type == "string" and column.domain is None and name not in card.key
