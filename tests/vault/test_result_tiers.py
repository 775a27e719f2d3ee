"""Receipts state the tier of a result: that of the most sensitive column it depends on, as two persons lowered it."""

from __future__ import annotations

from typing import Any

import pytest
from mutants import mutated
from permit_world import FIRST, SECOND, TABLE, approval, document_of, make_world, signed, terms_of
from vault_world import World, context, plan

from cloister.contract import packs, storage
from cloister.plan import algebra as a
from cloister.receipt.receipt import Receipt
from cloister.vault import exits, permits
from cloister.vault.charge import Booked
from cloister.vault.question import Asked, prepare
from cloister.vault.sign import _stated


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    root = tmp_path_factory.mktemp("result-tiers")
    five = make_world(root / "five", importance="general")
    return {
        "": five,
        "pboc-draft-2023": five,
        "beijing-4": make_world(root / "four", scheme="beijing-4", tiers=range(1, 5)),
    }


class Case:
    """A contract under a pack, and what its vault would state about results."""

    def __init__(self, world: World, pack: str) -> None:
        self.world, self.document = world, document_of(world, pack)

    def terms(self, *tiers: int, keys: tuple[Any, ...] = (FIRST, SECOND), **changes: Any) -> Any:
        approved = (approval(self.world, self.document, tier, **changes) for tier in tiers)
        return terms_of(self.world, self.document, *(signed(self.world, self.document, one, *keys) for one in approved))

    def receipt(self, terms: Any, asked: Asked) -> Receipt:
        return _stated(asked, context(self.world), Booked((), "2026-01-05T00:00:00Z", ""), terms, ())

    def of_plan(self, terms: Any, document: dict[str, Any]) -> Any:
        return self.receipt(terms, prepare(document, context(self.world), terms)).tier

    def of_match(self, terms: Any, tier: int) -> Any:
        asker, exit_ = context(self.world), a.Match(TABLE, f"b{tier}", ("p1",))
        asked = exits.name_exit(exit_, exits.allow(exit_, asker, terms), bytes(32), analyst=asker.analyst, terms=terms)
        return self.receipt(terms, asked).tier


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_what_is_free_has_the_tier_of_its_column(worlds: dict[str, World], tier: int) -> None:
    case = Case(worlds[""], "")
    assert case.of_plan(case.terms(), plan(a.Mean("m", a.Col(f"x{tier}")), rho="1/100")) == tier


def test_filters_and_keys_count_and_the_highest_stands(worlds: dict[str, World]) -> None:
    case = Case(worlds[""], "")
    terms = case.terms()
    assert case.of_plan(terms, plan(rho="1/100")) == 1
    assert case.of_plan(terms, plan(a.Mean("m", a.Col("x1")), where=a.Col("b3"), rho="1/100")) == 3
    assert case.of_plan(terms, plan(a.Mean("m", a.Col("x1")), keys=("b2",), rho="1/100")) == 2


def test_an_approval_lowers_its_columns_and_no_others(worlds: dict[str, World]) -> None:
    case = Case(worlds["beijing-4"], "beijing-4")
    mean = a.Mean("m", a.Col("x4"))
    for lowers_to, found in ((0, 4), (2, 2), (4, 4)):
        assert case.of_plan(case.terms(4, lowers_to=lowers_to), plan(mean, rho="1/100")) == found
    # The other column was not lowered.
    assert case.of_plan(case.terms(4, lowers_to=1), plan(mean, where=a.Col("b3"), rho="1/100")) == 3


def test_answers_of_matches_keep_their_tier_unless_two_persons_lower_it(worlds: dict[str, World]) -> None:
    case = Case(worlds["pboc-draft-2023"], "pboc-draft-2023")
    for tier in (1, 2):
        assert case.of_match(case.terms(), tier) == tier
    for tier in (3, 4):
        assert case.of_match(case.terms(tier, lowers_to=0), tier) == tier
        assert case.of_match(case.terms(tier, lowers_to=2, keys=(FIRST,)), tier) == tier
        assert case.of_match(case.terms(tier, lowers_to=2), tier) == 2


@pytest.mark.parametrize(("name", "tier"), [("pboc-draft-2023", 3), ("beijing-4", 4)])
def test_packs_say_from_which_tier_on_files_hold_nothing(worlds: dict[str, World], name: str, tier: int) -> None:
    contract = worlds[name].contract(pack=packs_terms(name))
    assert storage.unsaved(contract, tier - 1) is None
    found = storage.unsaved(contract, tier)
    assert found == storage.Unsaved(tier, tier - 1, name, packs.load(name).storage)
    assert "art." in found.rule
    # A tier nobody stated counts as the highest; and where the rules are not known, nothing is saved.
    assert storage.unsaved(contract, None).tier == packs.load(name).tiers
    assert not storage.keeps_all(contract)
    unknown = worlds[name].contract(pack=packs_terms(name, "sha256:" + "0" * 64))
    assert storage.unsaved(unknown, 1) is not None
    assert not storage.keeps_all(unknown)


def test_without_a_pack_everything_may_be_saved(worlds: dict[str, World]) -> None:
    contract = worlds[""].contract()
    assert storage.keeps_all(contract)
    assert storage.unsaved(contract, None) is storage.unsaved(contract, 5) is None


def packs_terms(name: str, digest: str = "") -> Any:
    from cloister.contract.clauses import PackTerms

    return PackTerms(name, digest or packs.load(name).digest)


MUTANTS = [
    (permits, "reads=grant.reads | used)", "reads=grant.reads)"),
    (permits, "_covers(one, table, name) and len(set(one.approvers)) >= 2", "len(set(one.approvers)) >= 2"),
    (permits, "and len(set(one.approvers)) >= 2", "and True"),
    (permits, "return max(found)\n\n\ndef _covers", "return min(found)\n\n\ndef _covers"),
    (storage, "if stated <= pack.highest_stored:", "if stated <= pack.highest_stored + 1:"),
    (storage, "pack.tiers if tier is None else tier", "1 if tier is None else tier"),
]


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_each_rule_about_result_tiers_is_needed(worlds: dict[str, World], number: int) -> None:
    checks = (
        test_filters_and_keys_count_and_the_highest_stands,
        test_an_approval_lowers_its_columns_and_no_others,
        test_answers_of_matches_keep_their_tier_unless_two_persons_lower_it,
        lambda known: test_packs_say_from_which_tier_on_files_hold_nothing(known, "beijing-4", 4),
    )
    with mutated(*MUTANTS[number]), pytest.raises((AssertionError, AttributeError)):
        for check in checks:
            check(worlds)
