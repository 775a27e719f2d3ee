"""Every cell of tiers x operations of every pack, at the vault: free, approved or refused exactly as the pack says."""

from __future__ import annotations

import pytest
from mutants import mutated
from permit_world import FIRST, SECOND, THIRD, approval, ask, document_of, make_world, signed, terms_of
from vault_world import PURPOSE, World, context, plan

from cloister.contract import packs
from cloister.contract.packs import OPERATIONS
from cloister.errors import ContractError
from cloister.plan import algebra as a
from cloister.vault import permits
from cloister.vault.question import prepare

KEYS = (FIRST, SECOND, THIRD)
PACKS = ("", *packs.NAMES)
CELLS = [
    (name, level.tier, operation)
    for name in PACKS
    for level in (packs.load(name) if name else packs.USUAL).level
    for operation in OPERATIONS
]


class Scene:
    """A contract under a pack, and its vault with any approvals."""

    def __init__(self, world: World, pack: str) -> None:
        self.world, self.pack = world, packs.load(pack) if pack else packs.USUAL
        self.document = document_of(world, pack)

    def ask(self, operation: str, tier: int, *approved: object):
        return ask(self.world, terms_of(self.world, self.document, *approved), operation, tier)

    def approval(self, tier: int, count: int, **changes: object):
        return signed(self.world, self.document, approval(self.world, self.document, tier, **changes), *KEYS[:count])

    def refused(self, operation: str, tier: int, *approved: object) -> ContractError:
        with pytest.raises(ContractError) as caught:
            self.ask(operation, tier, *approved)
        assert caught.value.code == "contract.tier"
        assert caught.value.next_step
        return caught.value


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    root = tmp_path_factory.mktemp("tiers")
    five = make_world(root / "five", importance="general")
    four = make_world(root / "four", scheme="beijing-4", tiers=range(1, 5))
    return {name: Scene(four if name == "beijing-4" else five, name) for name in PACKS}


@pytest.mark.parametrize(("name", "tier", "operation"), CELLS)
def test_a_cell(scenes: dict[str, Scene], name: str, tier: int, operation: str) -> None:
    scene = scenes[name]
    rule = scene.pack.rule(tier, operation)
    whole = scene.approval(tier, 3)
    if rule.decision == "allow":
        scene.ask(operation, tier)
    elif rule.decision == "refuse":
        assert name in scene.refused(operation, tier, whole).clause
    else:
        scene.refused(operation, tier)
        scene.ask(operation, tier, scene.approval(tier, rule.approvers))
        if rule.approvers > 1:
            assert (
                "approvers must sign" in scene.refused(operation, tier, scene.approval(tier, rule.approvers - 1)).clause
            )
        lacking = {"nda": {"nda": ""}, "necessity": {"necessity": " "}, "measures": {"measures": ""}}
        lacking["down-tier"] = {"lowers_to": scene.pack.highest_result + 1}
        for need in rule.needs:
            assert need in scene.refused(operation, tier, scene.approval(tier, 3, **lacking[need])).clause
        if "down-tier" in rule.needs:
            scene.refused(operation, tier, scene.approval(tier, 3, lowers_to=0))
        if rule.days:
            late = scene.approval(tier, 3, not_before="2026-01-01T00:00:00Z", not_after="2027-06-01T00:00:00Z")
            assert "days at most" in scene.refused(operation, tier, late).clause


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": ("x1", "b1")},
        {"operations": ("match",)},
    ],
)
def test_an_approval_is_for_what_it_names(scenes: dict[str, Scene], changes: dict[str, object]) -> None:
    scene = scenes[""]
    asked = approval(scene.world, scene.document, 4, **changes)
    scene.refused("aggregate", 4, signed(scene.world, scene.document, asked, FIRST, SECOND))


def test_an_approval_is_for_its_analyst_alone(scenes: dict[str, Scene]) -> None:
    scene, world = scenes[""], scenes[""].world
    terms = terms_of(world, scene.document, scene.approval(4, 2))
    ask(world, terms, "aggregate", 4)
    with pytest.raises(ContractError, match=r"contract\.tier"):
        ask(world, terms, "aggregate", 4, analyst=world.other_analyst.did)


def test_an_approval_is_for_its_purpose_alone(scenes: dict[str, Scene]) -> None:
    world = scenes[""].world
    document = document_of(world, purposes=(PURPOSE, "audit"))
    approved = signed(world, document, approval(world, document, 4, purpose="audit"), FIRST, SECOND)
    terms = terms_of(world, document, approved)
    ask(world, terms, "aggregate", 4, purpose="audit")
    with pytest.raises(ContractError, match=r"contract\.tier"):
        ask(world, terms, "aggregate", 4)


def test_a_column_used_only_to_filter_or_group_needs_its_tier(scenes: dict[str, Scene]) -> None:
    scene = scenes[""]
    terms = terms_of(scene.world, scene.document)
    for document in (plan(where=a.Col("b4"), rho="1/100"), plan(keys=("b4",), rho="1/100")):
        with pytest.raises(ContractError, match=r"contract\.tier"):
            prepare(document, context(scene.world), terms)


MUTANTS = [
    (permits, "if choice := _check_tier(card, column, grant, context, terms):", "if False:"),
    (permits, 'if rule.decision == "allow":', 'if rule.decision != "refuse":'),
    (permits, "if not lack:", "if True:"),
    (permits, 'if rule.decision == "approval" else ():', "if True else ():"),
    (packs, "if len(set(approved.approvers)) < rule.approvers:", "if False:"),
    (packs, "missing = [need for need in rule.needs if not said[need]]", "missing = []"),
    (packs, "if rule.days and approval.days > rule.days:", "if False:"),
    (packs, '"down-tier": 0 < approval.lowers_to <= (highest or 0),', '"down-tier": approval.lowers_to > 0,'),
]


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_each_rule_is_needed(scenes: dict[str, Scene], number: int) -> None:
    with mutated(*MUTANTS[number]), pytest.raises((pytest.fail.Exception, AssertionError)):
        for cell in (("pboc-draft-2023", 4, "aggregate"), ("pboc-draft-2023", 5, "deliver")):
            test_a_cell(scenes, *cell)
