"""The oracle: answers a sandbox's link from verified receipts, in place of a vault.

``describe``, ``price`` and every refusal are the vault's own pure code. ``release`` finds the receipt with the same
plan (digest, rho included) and returns its raw values; asked again, it is recalled. Nothing is drawn, charged or read.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import get_args

import msgspec

from cloister.contract.approvals import Approval, Approved, Operation
from cloister.errors import CloisterError, RefusedError
from cloister.plan import algebra, codec
from cloister.plan.link import Context, Request
from cloister.plan.numbers import rational
from cloister.plan.precision import epsilon_of_rho
from cloister.receipt import chain
from cloister.receipt.facts import question as in_words
from cloister.receipt.receipt import Receipt
from cloister.replay.perturb import moved
from cloister.replay.source import Source
from cloister.replay.sums import Sums
from cloister.vault import describe
from cloister.vault.config import Terms, VaultConfig, open_config
from cloister.vault.question import Question, plan_of, prepare
from cloister.vault.recall import Answer
from cloister.vault.service import Answered
from cloister.wire import canonical
from cloister.wire.envelope import Envelope


class Showing(msgspec.Struct, frozen=True):
    """How one asking of a release is shown: in which session, and whether as recalled."""

    session: str
    recalled: bool


class Oracle:
    """Everything a replay can answer.

    Args:
        source: What verified.
        perturbed: Move every released value; such answers carry no receipt.
    """

    def __init__(self, source: Source, *, perturbed: bool = False) -> None:
        self.source = source
        self.perturbed = perturbed
        self._by_plan = {receipt.plan_digest: digest for digest, receipt in source.receipts.items()}
        self._envelopes = {chain.receipt_digest(envelope): envelope for envelope in source.bundle.receipts}
        self._shown = _showings(source)
        self._asked: Counter[str] = Counter()
        first = self._leading()
        self.session, self.analyst, self.purpose = first.session, first.analyst, first.purpose
        self.assurance = first.assurance
        self.terms = _terms(source, first)
        self._sums = Sums(source.receipts.values(), self._usage())

    def answer(self, context: Context, request: Request) -> Answered:
        """Return the answer to one request.

        Raises:
            CloisterError: As a vault refuses; ``replay.unknown``: a question no receipt answers.
        """
        if request.op in ("price", "release") and codec.is_exit(plan_of(request)):
            raise RefusedError(
                "replay.exit",
                "a replay repeats no match and no delivery: what left is in no notebook",
                clause="docs/protocol.md section 9",
                next_step="the receipt says that it left; run the notebook in a Cloister kernel with an enclave",
            )
        match request.op:
            case "describe":
                return Answered(describe.describe(self.terms, context))
            case "budget":
                return Answered(self.budget(context))
            case "price":
                return Answered(describe.cost(prepare(plan_of(request), context, self.terms)))
            case "release":
                return self._release(prepare(plan_of(request), context, self.terms))

    def budget(self, context: Context) -> dict[str, object]:
        """Return every limit with what the brokers had signed as spent."""
        brokers = {broker.name: broker.did for broker in self.source.contract.brokers}
        return self._sums.fill(describe.untouched(self.terms, context, ""), brokers)

    def showing(self, digest: str, times: int) -> Showing:
        """Return how the asking number ``times`` (from 0) of a receipt is shown: as in the notebook."""
        listed = self._shown.get(digest, ())
        if times < len(listed):
            return msgspec.structs.replace(listed[times], recalled=listed[times].recalled or times > 0)
        return Showing(self.session, times > 0 or self.source.receipts[digest].session != self.session)

    def _release(self, question: Question) -> Answered:
        digest = self._by_plan.get(question.plan_digest)
        if digest is None:
            raise self._unknown(question)
        receipt, envelope = self.source.receipts[digest], self._envelopes[digest]
        showing = self.showing(digest, self._asked[digest])
        self._asked[digest] += 1
        self._sums.replayed(receipt)
        result = describe.answer(Answer(receipt, envelope, (), showing.recalled), self.terms)
        if self.perturbed:
            raw = moved(receipt, chain.cards_of(receipt, self.source.cards))
            return Answered({**result, "raw": list(raw), "receipt": None})
        return Answered(result, (envelope,), self._admissions(receipt))

    def _admissions(self, receipt: Receipt) -> tuple[Envelope, ...]:
        named = {chain.admission_digest(item): item for item in self.source.bundle.admissions}
        return tuple(named[digest] for digest in receipt.admissions if digest in named)

    def _leading(self) -> Receipt:
        """Return the receipt that says who asks and in which session: of the first release shown as paid."""
        receipts = self.source.receipts
        for facts in sorted(self.source.chips, key=lambda facts: facts.recalled):
            if facts.receipt in receipts:
                return msgspec.structs.replace(receipts[facts.receipt], session=facts.session)
        return next(iter(receipts.values()))

    def _usage(self) -> dict[str, dict[str, int]]:
        """Return what each release used of the contract's limits."""
        found = {}
        for receipt in self.source.receipts.values():
            context = Context(receipt.session, receipt.analyst, receipt.purpose, receipt.transcript, receipt.cause)
            try:
                cost = describe.cost(prepare(receipt.plan, context, self.terms))
            except CloisterError:
                continue  # another version priced it; its sums are then as the broker found them
            found[receipt.release] = {"releases": 1, **cost.get("usage", {})}
        return found

    def _unknown(self, question: Question) -> RefusedError:
        delta = question.accounts[0].budget.delta_conversion
        plan, rho = question.plan, question.price.rho_asked
        asked = f"{in_words(plan)}, at epsilon {float(epsilon_of_rho(rho, delta)):.3g}"
        known = [
            f"the same at epsilon {float(epsilon_of_rho(rational(other.rho), delta)):.3g}"
            for other in map(codec.decode, (r.plan for r in self.source.receipts.values() if r.exits is None))
            if _same_question(other, plan)
        ]
        return RefusedError(
            "replay.unknown",
            f"no receipt answers this question: {asked}. A replay knows what was released, and nothing else",
            clause="docs/protocol.md section 9",
            next_step="ask what the notebook asked; for a new question run it in a Cloister kernel with an enclave",
            nearest=tuple(known[:3]),
        )


def _same_question(one: algebra.Plan, other: algebra.Plan) -> bool:
    return msgspec.structs.replace(one, rho="1") == msgspec.structs.replace(other, rho="1")


def _showings(source: Source) -> dict[str, tuple[Showing, ...]]:
    found: dict[str, list[Showing]] = {}
    for facts in source.chips:
        found.setdefault(facts.receipt, []).append(Showing(facts.session, facts.recalled))
    return {digest: tuple(listed) for digest, listed in found.items()}


def _terms(source: Source, first: Receipt) -> Terms:
    """Return what a vault under this contract would work with, but for the data."""
    config = VaultConfig(
        contract=source.bundle.contract,
        cards=source.bundle.cards,
        capsules={},
        env_digest=first.env_digest,
        mode="confidential",
        assurance=first.assurance,
    )
    terms = open_config(canonical.encode(config))
    return msgspec.structs.replace(terms, approvals=tuple(_approvals(source, terms)))


def _approvals(source: Source, terms: Terms) -> Iterator[Approved]:
    """Yield an approval of everything to everybody a receipt is of: a notebook does not carry the ones there were.

    A vault checked them before it signed the receipts, and a replay shows what is in the receipts and nothing else.
    """
    asked = {(receipt.analyst, receipt.purpose) for receipt in source.receipts.values()}
    for (analyst, purpose), table in itertools.product(sorted(asked), terms.cards.values()):
        approval = Approval(
            contract=terms.digest,
            analyst=analyst,
            table=table.name,
            columns=tuple(column.name for column in table.columns),
            operations=get_args(Operation),
            purpose=purpose,
            necessity="replay",
            measures="replay",
            lowers_to=1,
            nda="sha256:" + "0" * 64,
            not_before="2000-01-01T00:00:00Z",
            not_after="2000-01-02T00:00:00Z",
        )
        yield Approved("replay", approval, ("first", "second", "third"))
