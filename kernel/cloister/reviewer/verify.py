"""Verification of a notebook, offline, step by step (docs/verification.md). The steps are those of ``report.STEPS``.

Four anchors carry the verdict. What runs: the TEE's roots, packaged with Cloister, and measurements the reviewer pins.
Whose data: provider identities from the reviewer's own trust file, never from the notebook. Which accounts: broker
keys, from the contract those providers signed. Which numbers: receipts signed by a vault those brokers admitted.
A step that fails is a line of the report; the steps that need its result are left out and say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from cloister.attest.endorsements import Endorsements
from cloister.contract import lint, signing
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import CloisterError
from cloister.receipt import chain, exits
from cloister.receipt.bundle import Bundle, read_bundle
from cloister.receipt.facts import population_ends, refined, shaped
from cloister.receipt.models import model_numbers
from cloister.receipt.receipt import Admission, Receipt
from cloister.reviewer import accounts, agreeing, appraising, imitations, logs, report, shown
from cloister.reviewer.appraising import ORIGIN, PLATFORM
from cloister.reviewer.evidence import Seen, check_exchange
from cloister.reviewer.findings import Findings
from cloister.reviewer.logs import BrokerLog
from cloister.reviewer.notebook import CodeCell, code_cells, named, printed
from cloister.reviewer.numbers import Released
from cloister.reviewer.report import Anchor, Anchors, Counts, Report
from cloister.reviewer.trust import ReviewerTrust
from cloister.wire import canonical

SIMULATED = "simulated"
_EXAMPLES = 6


def verify(
    notebook: dict[str, Any],
    *,
    trust: ReviewerTrust | None = None,
    now: datetime | None = None,
    allow_simulated: bool = False,
    allow_unknown_origin: bool = False,
    endorsements: Endorsements | None = None,
    brokers_logs: Iterable[BrokerLog] = (),
) -> Report:
    """Verify the bundle, the chips and the code of a notebook.

    Args:
        notebook: The notebook as JSON (nbformat 4).
        trust: What the reviewer pins; nothing by default.
        now: The time of verification; it decides nothing but a note about an expired contract, and the validity of
            hardware evidence without an admission time.
        allow_simulated: Do not let the exit code object to a simulated enclave. The verdict still says it.
        allow_unknown_origin: Nor to providers or code that the trust file does not pin. The verdict still says it.
        endorsements: The reviewer's own (``cloister endorse``), for evidence that does not bring its own.
        brokers_logs: What the brokers' logs say of the contract (``logs.read_log``), of those that are here.

    Returns:
        The report. Nothing is raised for what the notebook holds.
    """
    return examine(
        notebook,
        trust=trust,
        now=now,
        allow_simulated=allow_simulated,
        allow_unknown_origin=allow_unknown_origin,
        endorsements=endorsements,
        brokers_logs=brokers_logs,
    ).report


class Examined(NamedTuple):
    """A report and the signed documents behind it, for who wants to go on with them.

    ``receipts`` (by digest, in the bundle's order), ``cards`` and ``contract`` are only those that verified.
    """

    report: Report
    bundle: Bundle | None
    contract: Contract | None
    cards: dict[str, Card]
    receipts: dict[str, Receipt]
    cells: tuple[CodeCell, ...]


def examine(
    notebook: dict[str, Any],
    *,
    trust: ReviewerTrust | None = None,
    now: datetime | None = None,
    allow_simulated: bool = False,
    allow_unknown_origin: bool = False,
    endorsements: Endorsements | None = None,
    brokers_logs: Iterable[BrokerLog] = (),
) -> Examined:
    """Verify as ``verify`` does, and return the report with what verified."""
    allowed = {word for word, on in ((SIMULATED, allow_simulated), (ORIGIN, allow_unknown_origin)) if on}
    work = _Verification(notebook, trust or ReviewerTrust(), now or datetime.now(UTC), endorsements)
    work.logs = tuple(brokers_logs)
    found = work.run(allowed)
    return Examined(found, work.bundle, work.contract, work.cards, work.receipts, work.cells)


class _Verification:
    """One run of the steps; each method is one or two of them."""

    def __init__(
        self, notebook: dict[str, Any], trust: ReviewerTrust, now: datetime, endorsements: Endorsements | None
    ) -> None:
        self.trust, self.endorsements = trust, endorsements
        self.logs: tuple[BrokerLog, ...] = ()
        self.now = now
        self.findings = Findings()
        self.notebook: dict[str, Any] = {}
        with self.findings.step(1):
            # Notebook libraries use subclasses of dict; the same JSON is wanted whoever loaded it.
            self.notebook = json.loads(json.dumps(notebook))
        self.cells: tuple[CodeCell, ...] = code_cells(self.notebook)
        self.bundle: Bundle | None = None
        self.contract: Contract | None = None
        self.digest = ""
        self.admissions: dict[str, Admission] = {}
        self.receipts: dict[str, Receipt] = {}
        self.vaults: dict[str, str] = {}
        self.cards: dict[str, Card] = {}
        self.counts = Counts()
        self.run_word = shown.NO_RUN
        self.completeness = accounts.UNKNOWN

    def run(self, allowed: set[str]) -> Report:
        with self.findings.step(1):
            self.bundle = read_bundle(self.notebook)
            self.findings.add(1, "ok", "bundle.read", f"{len(self.bundle.receipts)} receipts")
            self.contract = self.check_contract(self.bundle)
        bundle, contract = self.bundle, self.contract
        if bundle is not None and contract is not None:
            self.check_providers(contract)
            self.check_cards(bundle, contract)
            self.check_admissions(bundle, contract)
            self.check_receipts(bundle, contract)
            self.check_evidence(bundle, contract)
            self.check_shown(bundle, contract)
        return self.conclude(contract, allowed)

    def check_contract(self, bundle: Bundle) -> Contract | None:
        """Step 2. Validity is that of the receipts' times; a contract may have ended since."""
        with self.findings.step(2):
            start = signing.read_unverified(bundle.contract).not_before
            contract = signing.open_contract(bundle.contract, now=start)
            self.digest = signing.contract_digest(bundle.contract)
            self.findings.add(2, "ok", "contract.signed", f"{contract.title}: signed by {_names(contract)}")
            if lint.parse_time(contract.not_after) <= self.now:
                self.findings.add(2, "note", "contract.expired", f"the contract ended at {contract.not_after}")
            return contract
        return None

    def check_providers(self, contract: Contract) -> None:
        """Step 3. A provider is known only if the reviewer's own file names its key."""
        for party in contract.parties:
            if party.role != "provider":
                continue
            if self.trust.knows_provider(party.did):
                self.findings.add(3, "ok", "provider.pinned", f"{party.name} is {party.did}")
            else:
                text = f"{party.name} ({party.did}) is not in your trust file: anybody can call himself that"
                self.findings.reserve(ORIGIN, 3, "provider.unpinned", text)

    def check_cards(self, bundle: Bundle, contract: Contract) -> None:
        """Step 4."""
        with self.findings.step(4):
            self.cards = chain.open_cards(bundle.cards, contract)
            self.findings.add(4, "ok", "card.signed", ", ".join(sorted(self.cards)))

    def check_admissions(self, bundle: Bundle, contract: Contract) -> None:
        """Step 5."""
        for document in bundle.admissions:
            with self.findings.step(5):
                admission = chain.open_admission(document, contract, self.digest)
                self.admissions[chain.admission_digest(document)] = admission
                text = f"{admission.vault_id} was admitted at {admission.time} ({admission.assurance})"
                self.findings.add(5, "ok", "admission.signed", text)
        if not bundle.admissions:
            self.findings.add(5, "fail", "admission.absent", "no admission: nobody vouches for the receipts' signer")

    def check_receipts(self, bundle: Bundle, contract: Contract) -> None:
        """Steps 7 and 8."""
        for document in bundle.receipts:
            digest, receipt = "", None
            with self.findings.step(7):
                digest = chain.receipt_digest(document)
                receipt, vault = chain.open_receipt(document, self.admissions, contract, self.digest)
            if receipt is None:
                continue
            before = len(self.findings.lines)
            with self.findings.step(8, release=receipt.release):
                chain.check_names(receipt, contract)
                cards = chain.cards_of(receipt, self.cards)
                chain.check_charges(receipt, cards.values(), contract)
                if receipt.exits is None:
                    shaped(receipt, cards)
            if len(self.findings.lines) == before:
                self.receipts[digest], self.vaults[digest] = receipt, vault
        good = f"{len(self.receipts)} of {len(bundle.receipts)}"
        for step, code in ((7, "receipt.signed"), (8, "receipt.arithmetic")):
            if self.receipts:
                self.findings.add(step, "ok", code, f"{good} receipts")
        self.check_exits(contract)
        if not bundle.receipts:
            self.findings.add(7, "fail", "receipt.absent", "the bundle holds no receipt: there is nothing to verify")

    def check_exits(self, contract: Contract) -> None:
        """Say what the formal guarantee does not cover, and hold what left by an exit to the limits of its clause."""
        for text in exits.beyond(self.receipts.values(), contract):
            self.findings.add(8, "fail", "receipt.limit", text)
        if contract.excluded:
            text = f"the formal guarantee excludes {' and '.join(contract.excluded)} under this contract"
            self.findings.add(2, "note", "contract.excludes", text)
        left = [receipt.exits for receipt in self.receipts.values() if receipt.exits is not None]
        if matches := [stated.targets for stated in left if stated.name == "match"]:
            asked = f"{sum(matches):,} target{'' if sum(matches) == 1 else 's'}"
            self.findings.add(8, "note", "exit.match", f"matched: {asked}, outside the formal guarantee")
        if delivered := sum(stated.name == "deliver" for stated in left):
            self.findings.add(8, "note", "exit.deliver", f"delivered: {delivered}, outside the formal guarantee")

    def check_evidence(self, bundle: Bundle, contract: Contract) -> None:
        """Step 6, after the receipts are known: evidence matters for the vaults that signed them."""
        every: list[Seen] = []
        for exchange in bundle.evidence:
            with self.findings.step(6):
                moment = self._time_of_evidence()
                every.append(check_exchange(exchange, contract, self.digest, moment, self.endorsements))
        seen = {one.vault_id: one for one in every}
        for digest, receipt in self.receipts.items():
            with self.findings.step(6, release=receipt.release):
                self._match(receipt, seen.get(self.vaults[digest]))
        if any(receipt.seeded for receipt in self.receipts.values()):
            self.findings.reserve("seeded: no privacy", 6, "evidence.seeded", "noise was drawn from a fixed seed")
        # Sessions with one enclave differ in what they bound; what there is to appraise is said once.
        bare = [msgspec.structs.replace(one.claims, report_data="") for one in every]
        measured = {canonical.digest(claims): claims for claims in bare}
        time = self._time_of_evidence()
        for claims in measured.values():
            appraising.check_claims(claims, self.digest, self.trust, self.findings)
            agreeing.check_terms(claims, contract, self.digest, time, self.findings)
        by_vault = {vault: one.claims for vault, one in seen.items()}
        documents = (*bundle.releases, *self.trust.documents)
        logs.check_sessions(tuple(self.admissions.values()), contract, self.logs, self.findings)
        agreeing.check_software(
            self.admissions.values(), by_vault, contract, documents, self.findings, brokers_logs=self.logs
        )
        agreeing.check_simulated(self.receipts.values(), contract, self.cards.values(), self.findings)
        for env_digest in {r.env_digest for r in self.receipts.values()} - {s.claims.env_digest for s in seen.values()}:
            appraising.check_unseen(env_digest, self.trust, self.findings)
        if any(receipt.assurance == SIMULATED for receipt in self.receipts.values()):
            text = "simulated: no hardware protects the enclave, and its owner could have signed anything"
            self.findings.reserve(SIMULATED, 6, "evidence.simulated", text)

    def check_shown(self, bundle: Bundle, contract: Contract) -> None:
        """Steps 9 to 13."""
        displayed: set[str] = set()
        with self.findings.step(9):
            known = shown.Verified(self.receipts, contract, self.cards)
            displayed = shown.check_chips(self.cells, known, self.findings)
            imitations.check_imitations(self.cells, self.findings)
        with self.findings.step(10):
            self.run_word = shown.how_it_ran(self.cells, self.receipts)
            fresh = self.run_word in (shown.FRESH, shown.FRESH_WITH_FILES)
            self.findings.add(10, "ok" if fresh else "note", "run.order", f"run: {self.run_word}")
        with self.findings.step(11):
            logged = logs.check_charges(self.receipts, self.logs, self.findings)
            checkpoints = accounts.check_accounts(bundle.proofs, self.receipts, contract, self.findings, logged=logged)
            self.completeness = accounts.completeness(checkpoints, self.receipts, displayed, self.findings)
        not_shown = len(self.receipts.keys() - displayed)
        self.counts = Counts(len(bundle.receipts), len(displayed), not_shown)
        with self.findings.step(13):
            bound, unaccounted = self._numbers()
            self.counts = msgspec.structs.replace(self.counts, numbers_bound=bound, numbers_unaccounted=unaccounted)

    def conclude(self, contract: Contract | None, allowed: set[str]) -> Report:
        """The verdict: false, or true as far as the anchors reach."""
        found = self.findings
        if found.failed:
            overall, exit_code = report.FAILED, 2
        else:
            overall = report.VERIFIED if not found.reservations else report.INCOMPLETE
            if ORIGIN in found.reservations:
                overall = report.ORIGIN_UNKNOWN
            if SIMULATED in found.reservations:
                overall = report.SIMULATED
            exit_code = 0 if allowed.issuperset(found.reservations) else 1
        return Report(
            overall=overall,
            exit_code=exit_code,
            reservations=tuple(found.reservations),
            anchors=self._anchors(contract),
            counts=self.counts,
            run=self.run_word,
            completeness=self.completeness,
            contract=contract.name if contract else "",
            contract_digest=self.digest,
            time=self.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            findings=tuple(found.lines),
        )

    def _match(self, receipt: Receipt, seen: Seen | None) -> None:
        """Tie a receipt to the evidence of the vault that signed it."""
        if seen is None:
            text = "no evidence of the vault that signed this receipt; a broker's admission vouches for it"
            self.findings.reserve("evidence not included", 6, "evidence.absent", text, release=receipt.release)
            return
        assurance = SIMULATED if seen.claims.assurance == SIMULATED else seen.claims.tee
        wrong = []
        if (seen.claims.env_digest, assurance) != (receipt.env_digest, receipt.assurance):
            wrong.append("other code or another assurance")
        if seen.session == receipt.session and seen.analyst != receipt.analyst:
            wrong.append("another analyst")
        if wrong:
            text = f"receipt and evidence disagree: {', '.join(wrong)}"
            self.findings.add(6, "fail", "evidence.receipt", text, release=receipt.release)

    def _time_of_evidence(self) -> datetime:
        times = []
        for admission in self.admissions.values():
            try:
                times.append(lint.parse_time(admission.time))
            except CloisterError:
                continue
        return max(times, default=self.now)

    def _numbers(self) -> tuple[int, int]:
        """Step 13."""
        combined = list(refined(self.receipts, self.cards))
        by_digest = {digest: r for digest, r in self.receipts.items() if r.exits is None}
        released_by = list(by_digest.values())
        alone = [shaped(r, chain.cards_of(r, self.cards)) for r in released_by]
        ends = [end for r in released_by for end in population_ends(r, chain.cards_of(r, self.cards))]
        models = {digest: model_numbers(r, chain.cards_of(r, self.cards)) for digest, r in by_digest.items()}
        released = Released([*alone, *(found for _, found in combined)], ends)
        if combined:
            text = f"{len(combined)} refined answers rest on several receipts each; their numbers are computed again"
            self.findings.add(13, "ok", "number.refined", text)
        bound = unaccounted = 0
        for cell in self.cells:
            # What the proxy itself answers is no result (and is named as such: imitations).
            outputs = [] if cell.is_line else list(printed(cell))
            own = released.beside(value for digest in named(cell) for value in models.get(digest, ()))
            counted = [own.count(output) for output in outputs]
            here = sum(item.bound for item in counted)
            odd = [number for item in counted for number in item.unaccounted]
            bound, unaccounted = bound + here, unaccounted + len(odd)
            if odd:
                some = ", ".join(odd[:_EXAMPLES]) + (", ..." if len(odd) > _EXAMPLES else "")
                text = f"{here} bound; {len(odd)} derived or unaccounted: {some}"
                self.findings.add(13, "note", "number.unaccounted", text, cell=cell.place)
            elif here:
                self.findings.add(13, "ok", "number.bound", f"{here} bound", cell=cell.place)
            if any(output.figure for output in outputs):
                self.findings.add(13, "note", "figure.not_compared", "a figure is not compared", cell=cell.place)
            if unread := sorted({name for output in outputs for name in output.unread}):
                text = f"shows types that are not read: {', '.join(unread[:_EXAMPLES])}"
                self.findings.add(13, "note", "output.not_read", text, cell=cell.place)
        return bound, unaccounted

    def _anchors(self, contract: Contract | None) -> Anchors:
        """One word per anchor, from the lines of its steps."""
        if contract is None:
            return Anchors()
        lines = self.findings.lines
        failed = {line.step for line in lines if line.level == "fail"}
        codes = {line.code for line in lines}
        providers: Anchor = "unknown" if "provider.unpinned" in codes else "pinned"
        unknown = codes & {"measurement.unpinned", "evidence.absent"} or PLATFORM in self.findings.reservations
        tee: Anchor = "unknown" if unknown else "pinned"
        if SIMULATED in self.findings.reservations:
            tee = "simulated"
        anchors = Anchors(tee, providers, "consistent" if providers == "unknown" else "pinned", "consistent")
        broken: dict[str, Anchor] = {}
        for name, steps in (("tee", {6}), ("providers", {2, 4}), ("brokers", {5, 11}), ("receipts", {7, 8, 9})):
            if failed & steps:
                broken[name] = "failed"
        return msgspec.structs.replace(anchors, **broken)


def _names(contract: Contract) -> str:
    return ", ".join(party.name for party in contract.parties)
