"""A notebook from which something was delivered: verified, said to be outside the guarantee, and nothing forged."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
from signed_world import Story, code_cell
from test_verify import check, failures, proof

from cloister.analyst.receipts import ReceiptBook
from cloister.contract import signing
from cloister.contract.exits import DeliverTerms, Exits, MatchTerms, Receiver
from cloister.errors import TrustError
from cloister.plan.link import Cause
from cloister.receipt import chip, code, naming, rehearsal
from cloister.receipt.ledger import ExitEntry
from cloister.receipt.receipt import ComponentNoise, ExitStatement, Receipt

replace = msgspec.structs.replace
PLAN, FILE = "sha256:" + "5" * 64, "sha256:" + "6" * 64
KEY = base64.b64encode(bytes(range(32))).decode()
CLAUSES = Exits(
    (Receiver("bureau", KEY),),
    (MatchTerms("clinic.visits", "sex", 1200, 1, "female"),),
    (DeliverTerms(PLAN, "bureau", 1),),
)
DELIVERED = ExitStatement("deliver", 0, receiver="bureau", file=FILE, size=18_452, key="aGVsbG8=")
SOURCE = "scores.deliver('score', step=1)"


class Delivered(Story):
    """The story with a delivery in a fourth cell."""

    def __init__(self, statement: ExitStatement = DELIVERED, **changes: Any) -> None:
        super().__init__(exits=CLAUSES)
        self.world.ran(SOURCE)
        self.exit = self.made(statement, **changes)
        chip = self.world.chip(self.world.facts(self.exit))
        self.plain["cells"].append(code_cell(SOURCE, chip))

    def made(self, statement: ExitStatement, **changes: Any) -> Receipt:
        world = self.world
        plain = world.receipt(SOURCE, (), rho="0")
        commitment = naming.commitment(bytes(32), b"plan")
        release = naming.release_key(
            plan=commitment, rho=0, manifests=plain.manifests, cards=plain.cards, env_digest=plain.env_digest,
            contract=world.digest, analyst=world.analyst.did,
        )  # fmt: skip
        # The receipt of a release was charged to make the frame: this account entry is in its place, at no price.
        charge = replace(plain.charges[0], rho="0", spent=self.means.charges[0].spent,
                         analyst_spent=self.means.charges[0].analyst_spent)  # fmt: skip
        made = replace(
            plain, release=release, plan={}, plan_digest=commitment, noise=(), charge_id=naming.charge_id(release),
            charges=(charge,), cause=Cause("cell", "m1", code.exact(SOURCE), code.normalised(SOURCE)), exit=statement,
        )  # fmt: skip
        return replace(made, **changes)

    def notebook(self, **changes: Any) -> dict[str, Any]:
        receipts = [self.world.sign(one) for one in (self.count, self.means, self.exit)]
        return super().notebook(**{"receipts": receipts, **changes})


def test_a_delivery_verifies_and_is_said_to_be_outside_the_guarantee() -> None:
    report = check(Delivered().notebook())
    assert not failures(report)
    said = {found.code: found.text for found in report.findings}
    assert said["exit.deliver"] == "delivered: 1, outside the formal guarantee"
    assert said["contract.excludes"].startswith("the formal guarantee excludes match releases and deliver releases")
    assert "delivered: 1, outside the formal guarantee" in report.to_text()


@pytest.mark.parametrize(("targets", "said"), [(1, "1 target"), (1200, "1,200 targets")])
def test_a_match_verifies_and_its_targets_are_counted(targets: int, said: str) -> None:
    report = check(Delivered(ExitStatement("match", 0, targets=targets)).notebook())
    assert not failures(report)
    assert f"matched: {said}, outside the formal guarantee" in report.to_text()


def another(story: Delivered, statement: ExitStatement) -> Receipt:
    """A second exit under the same clause, after the first."""
    commitment = naming.commitment(bytes(32), b"another plan")
    release = naming.release_key(
        plan=commitment, rho=0, manifests=story.exit.manifests, cards=story.exit.cards,
        env_digest=story.exit.env_digest, contract=story.world.digest, analyst=story.world.analyst.did,
    )  # fmt: skip
    charge = story.exit.charges[0]
    charge = replace(charge, size=charge.size + 1, root="sha256:" + "7" * 64)
    names = {"release": release, "plan_digest": commitment, "charge_id": naming.charge_id(release)}
    return replace(story.exit, **names, charges=(charge,), exit=statement)


@pytest.mark.parametrize(
    ("first", "second", "fails"),
    [
        (ExitStatement("match", 0, targets=600), ExitStatement("match", 0, targets=600), False),
        (ExitStatement("match", 0, targets=600), ExitStatement("match", 0, targets=601), True),
        (DELIVERED, DELIVERED, True),
    ],
)
def test_exits_are_held_to_the_limits_of_their_clause(first: ExitStatement, second: ExitStatement, fails: bool) -> None:
    story = Delivered(first)
    receipts = [story.world.sign(one) for one in (story.count, story.means, story.exit, another(story, second))]
    assert ((8, "receipt.limit") in failures(check(story.notebook(receipts=receipts)))) == fails


def test_the_same_exit_twice_counts_once() -> None:
    story = Delivered()
    again = replace(story.exit, cause=replace(story.exit.cause, message="m2"))
    receipts = [story.world.sign(one) for one in (story.count, story.means, story.exit, again)]
    report = check(story.notebook(receipts=receipts))
    assert report.counts.receipts == 4
    assert (8, "receipt.limit") not in failures(report)


def test_one_match_of_more_units_than_the_contract_allows() -> None:
    """The receipt itself is refused (by the proxy too), not only the sum."""
    story = Delivered(ExitStatement("match", 0, targets=1201))
    found = [line.release for line in check(story.notebook()).findings if line.code == "receipt.limit"]
    assert found == [story.exit.release]


def test_a_chip_of_an_exit_promises_no_epsilon() -> None:
    story = Delivered(ExitStatement("match", 0, targets=3))
    text = chip.display([story.world.facts(story.exit)])[0]["text/plain"]
    assert "match of 3 units: outside the formal guarantee" in text
    assert "no privacy budget: the formal guarantee excludes it" in text
    assert "epsilon" not in text
    assert "epsilon" in chip.display([story.world.facts(story.count)])[0]["text/plain"]


@pytest.mark.parametrize(
    ("booked", "fails"),
    [
        (ExitEntry("match", 0, ("a", "b", "c")), False),
        (ExitEntry("match", 0, ("a", "b")), True),
        (ExitEntry("match", 1, ("a", "b", "c")), True),
        (ExitEntry("deliver", 0), True),
        (msgspec.UNSET, True),
    ],
)
def test_the_account_holds_the_exit_that_the_receipt_states(booked: Any, fails: bool) -> None:
    story = Delivered(ExitStatement("match", 0, targets=3))
    receipts = [story.world.sign(one) for one in (story.count, story.means, story.exit)]
    story.count = story.means = story.exit  # whose entries are proven
    found = failures(check(story.notebook(receipts=receipts, proofs=[proof(story, exit=booked)])))
    assert ((11, "account.entry") in found) == fails


def test_a_contract_without_exits_says_nothing_of_them() -> None:
    assert not {"exit.deliver", "contract.excludes"} & {found.code for found in check(Story().notebook()).findings}


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (replace(DELIVERED, clause=1), {}),
        (replace(DELIVERED, clause=-1), {}),
        (replace(DELIVERED, receiver="another"), {}),
        (replace(DELIVERED, file="x"), {}),
        (replace(DELIVERED, size=0), {}),
        (replace(DELIVERED, targets=1), {}),
        (replace(DELIVERED, name="match"), {}),
        (ExitStatement("match", 0), {}),
        (DELIVERED, {"plan": {"op": "deliver"}}),
        (DELIVERED, {"raw": ("1",)}),
        (DELIVERED, {"rho": "1/8"}),
        (DELIVERED, {"noise": (ComponentNoise((4.0).hex(), "1/32"),)}),
        (DELIVERED, {"delta": "1/1000"}),
        (DELIVERED, {"labels": ()}),
        (DELIVERED, {"seeded": True}),
    ],
)
def test_a_receipt_that_states_what_no_exit_states(statement: ExitStatement, changes: dict[str, Any]) -> None:
    story = Delivered()
    story.exit = story.made(statement, **changes)
    found = failures(check(story.notebook()))
    assert found & {(8, "receipt.exit"), (9, "chip.unknown")} or any(step == 8 for step, _ in found)


def test_an_exit_that_was_charged_or_a_release_that_was_not() -> None:
    story = Delivered()
    story.exit = replace(story.exit, charges=(replace(story.exit.charges[0], rho="1/32"),))
    assert (8, "receipt.charge") in failures(check(story.notebook()))
    story = Delivered()
    story.means = replace(story.means, rho="0", charges=(replace(story.means.charges[0], rho="0"),))
    assert any(step == 8 for step, _ in failures(check(story.notebook())))


def test_only_an_exit_may_leave_an_account_as_it_was() -> None:
    """Accounts grow with every release; an entry without a price is an exit's or the account was turned back."""
    story = Delivered()
    assert not failures(check(story.notebook()))
    before = story.means.charges[0]
    story.exit = replace(story.exit, charges=(replace(story.exit.charges[0], spent=story.count.charges[0].spent),))
    assert before.spent != story.count.charges[0].spent
    assert failures(check(story.notebook()))


def test_a_rehearsed_exit_has_no_price_and_says_that_it_is_outside_the_guarantee() -> None:
    asked = msgspec.convert({"release": "r", "costs": [], "question": "match of 2 units"}, type=rehearsal.Rehearsal)
    facts = rehearsal.rehearsal_facts(asked, signing.read_unverified(Delivered().world.contract))
    data, metadata = rehearsal.display([facts])
    for shown in (data["text/plain"], data["text/html"]):
        assert "no privacy budget: the formal guarantee excludes it" in shown
        assert "epsilon" not in shown and "not known" not in shown
    assert metadata["cloister"]["rehearsals"][0]["outside"] is True


def test_the_proxy_keeps_and_shows_a_delivery(tmp_path: Path) -> None:
    story = Delivered()
    world = story.world
    book = ReceiptBook(
        world.contract, world.vault.did, world.session, tmp_path,
        cards=[world.card], analyst=world.analyst.did, evidence=world.exchange(),
    )  # fmt: skip
    book.admit(msgspec.to_builtins(world.admission))
    shown = book.accept(msgspec.to_builtins(world.sign(story.exit)), "m1")
    assert shown.question == "scores delivered, sealed to bureau: outside the formal guarantee"
    assert not shown.rows and not shown.costs and shown.rho == "0"
    forged = replace(story.exit, exit=replace(DELIVERED, receiver="another"))
    with pytest.raises(TrustError) as caught:
        book.accept(msgspec.to_builtins(world.sign(forged)), "m1")
    assert caught.value.code == "receipt.exit"
