"""Every edit of a notebook is caught, on the line of the report where a reader looks for it."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
from signed_world import CARD, Story, code_cell, result

from cloister.attest import simulator, verifiers
from cloister.attest.endorsements import Endorsements, add, read_entry
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.policy import Accept, Instance, Isolation, Policy, Reference
from cloister.attest.releases import References, SoftwareRelease, sign_release
from cloister.contract import signing
from cloister.contract.usage import Usage, Used
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.plan.link import Cause
from cloister.receipt import code, log
from cloister.receipt.bundle import Inclusion, Proof, read_bundle
from cloister.receipt.ledger import REPLY_TYPE, Entry, LedgerReply
from cloister.reviewer.report import ORIGIN_UNKNOWN, SIMULATED, VERIFIED, Report
from cloister.reviewer.trust import MeasurementPin, ProviderPin, ReviewerTrust, load_trust, parse_trust
from cloister.reviewer.verify import verify
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal
from cloister.wire.identity import SigningKey

NOW = datetime(2026, 6, 2, tzinfo=UTC)
Notebook = dict[str, Any]


@pytest.fixture
def story() -> Story:
    return Story()


def check(notebook: Notebook, **options: Any) -> Report:
    return verify(notebook, now=NOW, **options)


def failures(report: Report) -> set[tuple[int, str]]:
    return {(found.step, found.code) for found in report.findings if found.level == "fail"}


def pins(story: Story) -> ReviewerTrust:
    provider = ProviderPin(story.world.provider.did)
    return ReviewerTrust(provider=(provider,), measurement=(MeasurementPin(story.count.env_digest),))


def edit(document: Envelope, change: Any) -> Envelope:
    """Edit the payload of a signed document and keep its signature."""
    body = json.loads(base64.b64decode(document.payload))
    change(body)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return msgspec.structs.replace(document, payload=base64.b64encode(text.encode()).decode())


# What an honest notebook gets ------------------------------------------------------------------------


def test_the_only_reservations_of_an_honest_demo_are_simulated_and_origin_unknown(story: Story) -> None:
    report = check(story.notebook())
    assert failures(report) == set()
    assert set(report.reservations) == {"simulated", "origin unknown"}
    assert report.overall == SIMULATED
    assert report.exit_code == 1
    assert check(story.notebook(), allow_simulated=True).exit_code == 1, "origin unknown is a reservation of its own"
    assert check(story.notebook(), allow_unknown_origin=True).exit_code == 1, "and so is simulated"
    allowed = check(story.notebook(), allow_simulated=True, allow_unknown_origin=True)
    assert (allowed.exit_code, allowed.overall) == (0, report.overall), "the verdict says it whatever is allowed"
    assert report.counts.shown == report.counts.receipts == 2
    assert (report.counts.numbers_bound, report.counts.numbers_unaccounted) == (3, 0)
    assert "reproducible" in report.run
    assert "unknown" in report.completeness


def test_pinned_parties_leave_only_simulated_and_only_an_explicit_choice_accepts_it(story: Story) -> None:
    report = check(story.notebook(), trust=pins(story))
    assert report.reservations == ("simulated",)
    assert report.exit_code == 1
    allowed = check(story.notebook(), trust=pins(story), allow_simulated=True)
    assert allowed.exit_code == 0
    assert allowed.overall == SIMULATED, "the verdict still says it"


@pytest.mark.parametrize("left", ["provider", "measurement"])
def test_one_unpinned_anchor_is_enough_for_origin_unknown(story: Story, left: str) -> None:
    trust = msgspec.structs.replace(pins(story), **{left: ()})
    report = check(story.notebook(), trust=trust, allow_simulated=True)
    assert "origin unknown" in report.reservations
    assert report.exit_code == 1


def test_the_notebooks_own_claims_pin_nothing(story: Story) -> None:
    notebook = story.notebook()
    trust = json.loads(msgspec.json.encode(pins(story)))
    notebook["metadata"]["cloister"].update({"trust": trust, "provider": trust["provider"]})
    assert "origin unknown" in check(notebook).reservations


def test_it_survives_nbformat(story: Story, tmp_path: Any) -> None:
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.from_dict(story.notebook()), path)
    for loaded in (json.loads(path.read_text()), nbformat.read(path, as_version=4)):
        assert check(loaded).overall == SIMULATED


def test_json_and_text_are_complete(story: Story) -> None:
    report = check(story.notebook())
    data = json.loads(json.dumps(report.to_dict()))
    assert data["version"] == 1
    assert [step["number"] for step in data["steps"]] == list(range(1, 14))
    assert {"overall", "exit_code", "reservations", "anchors", "counts", "findings", "run"} <= data.keys()
    text = report.to_text()
    assert text.startswith("INTERNAL CONSISTENCY ONLY (SIMULATED)")
    assert all(f"{number:>2}. " in text for number in range(1, 14))


# What is shown ---------------------------------------------------------------------------------------


def chip_of(notebook: Notebook, cell: int) -> dict[str, Any]:
    found: dict[str, Any] = notebook["cells"][cell]["outputs"][1]
    return found


def test_a_value_edited_in_the_chips_facts(story: Story) -> None:
    notebook = story.notebook()
    chip_of(notebook, 1)["metadata"]["cloister"]["releases"][0]["rows"][0]["values"] = ["2003"]
    report = check(notebook)
    assert (9, "chip.value") in failures(report)
    assert report.exit_code == 2
    line = next(found for found in report.findings if found.code == "chip.value")
    assert line.cell == 1
    assert "2003" in line.text
    assert "1003" in line.text
    assert "chip.ok" not in {found.code for found in report.findings if found.cell == 1}


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
def test_a_value_edited_in_the_chips_text(story: Story, kind: str) -> None:
    notebook = story.notebook()
    data = chip_of(notebook, 1)["data"]
    data[kind] = data[kind].replace("1003", "2003")
    assert failures(check(notebook)) == {(9, "chip.text")}


def test_something_added_to_a_chip(story: Story) -> None:
    notebook = story.notebook()
    chip_of(notebook, 1)["data"]["image/png"] = "iVBORw0KGgo="
    assert failures(check(notebook)) == {(9, "chip.text")}


def test_a_chip_without_facts(story: Story) -> None:
    notebook = story.notebook()
    del chip_of(notebook, 1)["metadata"]["cloister"]
    assert failures(check(notebook)) == {(9, "chip.malformed")}


@pytest.mark.parametrize("field", ["rho", "assurance", "time", "question", "receipt", "session", "seeded"])
def test_any_fact_edited(story: Story, field: str) -> None:
    notebook = story.notebook()
    facts = chip_of(notebook, 1)["metadata"]["cloister"]["releases"][0]
    facts[field] = True if field == "seeded" else "1/2"
    assert {step for step, _ in failures(check(notebook))} == {9}


def test_a_simulated_chip_dressed_as_genuine(story: Story) -> None:
    notebook = story.notebook()
    chip_of(notebook, 1)["metadata"]["cloister"]["state"] = "confidential"
    assert failures(check(notebook)) == {(9, "chip.text")}


def test_a_number_edited_in_an_ordinary_output_is_no_longer_bound(story: Story) -> None:
    notebook = story.notebook()
    notebook["cells"][1]["outputs"][0] = result("2003")
    report = check(notebook)
    assert report.counts.numbers_unaccounted == 1
    line = next(found for found in report.findings if found.code == "number.unaccounted")
    assert (line.cell, "2003" in line.text) == (1, True)


def test_a_number_edited_in_the_html_of_an_output(story: Story) -> None:
    notebook = story.notebook()
    data = notebook["cells"][2]["outputs"][0]["data"]
    data["text/html"] = "<style>.a {width: 1234px}</style><table><td title='999'>25.5</td><td>26.5</td></table>"
    assert check(notebook).counts.numbers_unaccounted == 0
    data["text/html"] = data["text/html"].replace(">26.5", ">21.5")
    assert check(notebook).counts.numbers_unaccounted == 1


def test_metadata_does_not_hide_numbers(story: Story) -> None:
    notebook = story.notebook()
    notebook["cells"][1]["outputs"][0] = {**result("2003"), "metadata": {"cloister": {}}}
    assert check(notebook).counts.numbers_unaccounted == 1


def test_figures_are_said_not_to_be_compared(story: Story) -> None:
    notebook = story.notebook()
    figure = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": "x", "text/plain": "<Figure 640x480>"},
    }
    notebook["cells"][2]["outputs"].append(figure)
    report = check(notebook)
    assert "figure.not_compared" in codes(report, 13)
    assert report.counts.numbers_unaccounted == 0


def test_a_chip_of_a_made_up_release(story: Story) -> None:
    other = Story()
    notebook = story.notebook()
    notebook["cells"][1]["outputs"][1] = other.plain["cells"][1]["outputs"][1]
    assert (9, "chip.unbound") in failures(check(notebook))


# Receipts --------------------------------------------------------------------------------------------

EDITS = {
    "raw": lambda body: body["raw"].__setitem__(0, "2003"),
    "rho": lambda body: body.__setitem__("rho", "1/1000"),
    "sigma": lambda body: body["noise"][0].__setitem__("sigma", (8.0).hex()),
    "plan": lambda body: body["plan"]["source"].__setitem__("name", "clinic.other"),
    "session": lambda body: body.__setitem__("session", "session-2"),
    "code": lambda body: body["cause"].__setitem__("code", "sha256:" + "0" * 64),
    "time": lambda body: body.__setitem__("time", "2026-06-01T12:00:01Z"),
    "assurance": lambda body: body.__setitem__("assurance", "tdx"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_receipt_loses_its_signature(story: Story, what: str) -> None:
    forged = edit(story.world.sign(story.count), EDITS[what])
    report = check(story.notebook(receipts=[forged, story.world.sign(story.means)]))
    assert (7, "receipt.forged") in failures(report)


def test_a_receipt_by_somebody_else(story: Story) -> None:
    forged = story.world.sign(story.count, SigningKey.generate())
    assert (7, "receipt.forged") in failures(check(story.notebook(receipts=[forged])))


def test_a_receipt_of_another_vault_of_another_world(story: Story) -> None:
    other = Story()
    report = check(story.notebook(receipts=[story.world.sign(story.count), other.world.sign(other.means)]))
    assert (7, "receipt.admission") in failures(report)


def test_receipts_of_another_contract_with_their_own_admission(story: Story) -> None:
    other = Story()
    report = check(
        story.notebook(
            receipts=[other.world.sign(other.count)], admissions=[story.world.admission, other.world.admission]
        )
    )
    assert (5, "admission.broker") in failures(report)
    assert (7, "receipt.admission") in failures(report)


# A vault that lies: everything below is properly signed ----------------------------------------------


def signed(story: Story, **changes: Any) -> set[tuple[int, str]]:
    receipt = msgspec.structs.replace(story.count, **changes)
    return failures(check(story.notebook(receipts=[story.world.sign(receipt), story.world.sign(story.means)])))


def test_the_plan_is_swapped(story: Story) -> None:
    assert (8, "receipt.plan") in signed(story, plan=story.means.plan)
    assert (8, "receipt.names") in signed(story, plan=story.means.plan, plan_digest=story.means.plan_digest)


def test_the_noise_does_not_cost_what_it_says(story: Story) -> None:
    double = msgspec.structs.replace(story.count.noise[0], sigma=(4.5).hex())
    assert (8, "receipt.sigma") in signed(story, noise=(double,))
    cheap = msgspec.structs.replace(story.count.noise[0], rho="1/1000")
    assert (8, "receipt.rho") in signed(story, noise=(cheap,))
    assert (8, "receipt.sigma") in signed(story, noise=(msgspec.structs.replace(double, sigma="inf"),))


def test_the_accounts_charged_are_not_those_concerned(story: Story) -> None:
    charge = story.count.charges[0]
    assert (8, "receipt.charge") in signed(story, charges=())
    other = msgspec.structs.replace(charge, population="clinic.others")
    assert (8, "receipt.charge") in signed(story, charges=(other,))
    cheap = msgspec.structs.replace(charge, rho="1/1000")
    assert (8, "receipt.charge") in signed(story, charges=(cheap,))
    for parts in (("0",), ("1/1000",), (charge.rho, "0"), (str(2 * Fraction(charge.rho)),)):
        rho = str(sum(map(Fraction, parts), Fraction(0)))
        told = msgspec.structs.replace(charge, rho=rho, parts=parts)
        assert {code for step, code in signed(story, charges=(told,)) if step == 8} & {
            "receipt.charge",
            "receipt.sigma",
        }, f"{parts} is not what this noise costs any unit"
    keys = msgspec.structs.replace(charge, delta="1/1000000", delta_spent="1/1000000")
    assert (8, "receipt.limit") in signed(story, charges=(keys,)), "no delta for keys is granted"
    keys = msgspec.structs.replace(charge, delta="1/1000000")
    assert (8, "receipt.charge") in signed(story, charges=(keys,)), "its own charge is not in the sum"
    stranger = msgspec.structs.replace(charge, broker=SigningKey.generate().did)
    assert (7, "receipt.admission") in signed(story, charges=(stranger,))


def test_more_or_fewer_values_than_the_plan_has(story: Story) -> None:
    assert (8, "receipt.shape") in signed(story, raw=("1003", "4"))
    assert (8, "receipt.shape") in signed(story, raw=("many",))


def test_other_names_than_follow(story: Story) -> None:
    assert (8, "receipt.names") in signed(story, charge_id="sha256:" + "0" * 64)
    assert (8, "receipt.names") in signed(story, manifests=("sha256:" + "0" * 64,))


def lied_well(story: Story, **changes: Any) -> set[tuple[int, str]]:
    receipt = story.world.renamed(story.count, **changes)
    return failures(check(story.notebook(receipts=[story.world.sign(receipt), story.world.sign(story.means)])))


def test_other_data_than_the_contract_pins(story: Story) -> None:
    assert (8, "receipt.names") in lied_well(story, manifests=("sha256:" + "0" * 64,))
    assert (8, "receipt.names") in lied_well(story, cards=())


def test_more_charged_than_asked(story: Story) -> None:
    assert (8, "receipt.rho") in lied_well(story, plan={**story.count.plan, "rho": "1/1000"})


def test_an_admission_that_is_named_but_not_there(story: Story) -> None:
    named = (*story.count.admissions, "sha256:" + "0" * 64)
    assert (7, "receipt.admission") in signed(story, admissions=named)


def test_a_stranger_or_another_purpose(story: Story) -> None:
    assert (7, "receipt.party") in signed(story, analyst=SigningKey.generate().did)
    assert (7, "receipt.party") in signed(story, purpose="marketing")


def test_a_release_outside_the_contracts_validity(story: Story) -> None:
    assert (7, "receipt.validity") in signed(story, time="2027-06-01T12:00:00Z")
    assert (7, "receipt.validity") in signed(story, time="2025-06-01T12:00:00Z")


def test_another_code_or_assurance_than_admitted(story: Story) -> None:
    assert (7, "receipt.env") in signed(story, env_digest="sha384:" + "cd" * 48)
    assert (7, "receipt.env") in signed(story, assurance="tdx")


def test_a_forked_account(story: Story) -> None:
    charge = msgspec.structs.replace(story.means.charges[0], size=story.count.charges[0].size)
    means = msgspec.structs.replace(story.means, charges=(charge,))
    report = check(story.notebook(receipts=[story.world.sign(story.count), story.world.sign(means)]))
    assert (11, "account.fork") in failures(report)


def test_an_account_that_shrinks(story: Story) -> None:
    """Sums and counts after a later charge are below those after an earlier one: one of the two is a lie."""
    before, after = story.count.charges[0], story.means.charges[0]
    changes = (
        {"spent": after.rho, "analyst_spent": after.rho},
        {"used": Used(1, 2048, 2, 0)},
        {"used": Used(2, 10, 2, 0)},
    )
    for change in changes:
        charge = msgspec.structs.replace(after, **change)
        assert charge.size > before.size
        means = msgspec.structs.replace(story.means, charges=(charge,))
        report = check(story.notebook(receipts=[story.world.sign(story.count), story.world.sign(means)]))
        assert (11, "account.shrunk") in failures(report), change
    dear = msgspec.structs.replace(before, spent="1", analyst_spent="1")
    count = msgspec.structs.replace(story.count, charges=(dear,))
    report = check(story.notebook(receipts=[story.world.sign(count), story.world.sign(story.means)]))
    assert (11, "account.shrunk") in failures(report), "the later account would hold both charges, and less than before"
    assert not failures(check(story.notebook()))


def test_a_release_beyond_the_contract(story: Story) -> None:
    """A vault that lies well still states an account that the contract does not allow."""
    charge, limits = story.count.charges[0], story.world.terms.limits
    full = Used(*msgspec.structs.astuple(limits))
    assert not signed(story, charges=(msgspec.structs.replace(charge, used=full),)) & {(8, "receipt.limit")}
    for name in Used.__struct_fields__:
        beyond = msgspec.structs.replace(full, **{name: getattr(full, name) + 1})
        assert (8, "receipt.limit") in signed(story, charges=(msgspec.structs.replace(charge, used=beyond),))
    for spent in ("20", "1" + "0" * 300):
        assert (8, "receipt.limit") in signed(story, charges=(msgspec.structs.replace(charge, spent=spent),))


def test_an_account_that_does_not_hold_its_own_charge(story: Story) -> None:
    charge = story.count.charges[0]
    for change in ({"spent": "0", "analyst_spent": "0"}, {"analyst_spent": "1"}, {"used": Used()}):
        assert (8, "receipt.charge") in signed(story, charges=(msgspec.structs.replace(charge, **change),)), change
    for text in ("1/0", "-1", "much", "1e999999999"):
        assert (8, "receipt.rho") in signed(story, charges=(msgspec.structs.replace(charge, spent=text),))


def test_seeded_noise_is_said(story: Story) -> None:
    seeded = msgspec.structs.replace(story.count, seeded=True)
    report = check(story.notebook(receipts=[story.world.sign(seeded), story.world.sign(story.means)]))
    assert "seeded: no privacy" in report.reservations


# Admissions and evidence -----------------------------------------------------------------------------


def test_no_admission(story: Story) -> None:
    found = failures(check(story.notebook(admissions=[])))
    assert {(5, "admission.absent"), (7, "receipt.admission")} <= found


def test_a_forged_admission(story: Story) -> None:
    forged = story.world.admit(signer=SigningKey.generate())
    assert (5, "admission.forged") in failures(check(story.notebook(admissions=[forged])))


def test_an_admission_by_a_broker_the_contract_does_not_name(story: Story) -> None:
    own = SigningKey.generate()
    forged = story.world.admit(signer=own, broker=own.did)
    assert (5, "admission.broker") in failures(check(story.notebook(admissions=[forged])))


def test_an_admission_of_another_vault(story: Story) -> None:
    other = story.world.admit(vault_id=SigningKey.generate().did)
    assert (7, "receipt.admission") in failures(check(story.notebook(admissions=[other])))


def test_an_admission_under_another_contract(story: Story) -> None:
    other = story.world.admit(contract="sha256:" + "0" * 64)
    assert (5, "admission.contract") in failures(check(story.notebook(admissions=[other])))


def test_evidence_of_another_vault_does_not_vouch(story: Story) -> None:
    report = check(story.notebook(evidence=[story.world.exchange(vault=SigningKey.generate())]))
    assert "evidence not included" in report.reservations
    assert report.anchors.tee == "simulated"
    assert report.exit_code == 1


def test_evidence_of_other_code_contradicts_the_receipt(story: Story) -> None:
    report = check(story.notebook(evidence=[story.world.exchange(env="sha384:" + "cd" * 48)]))
    assert (6, "evidence.receipt") in failures(report)


def test_evidence_of_another_contract(story: Story) -> None:
    assert (6, "evidence.contract") in failures(check(story.notebook(evidence=[Story().world.exchange()])))


def test_evidence_that_contradicts_its_offer(story: Story) -> None:
    lying = story.world.exchange(attested_env="sha384:" + "cd" * 48)
    assert (6, "evidence.claims") in failures(check(story.notebook(evidence=[lying])))


def test_evidence_of_an_enclave_started_for_debugging(story: Story) -> None:
    assert (6, "evidence.debug") in failures(check(story.notebook(evidence=[story.world.exchange(debug=True)])))


def test_an_offer_of_a_version_that_was_not_asked_for(story: Story) -> None:
    old = story.world.exchange(versions=("9",))
    assert (6, "evidence.exchange") in failures(check(story.notebook(evidence=[old])))


def test_evidence_of_the_session_of_another_analyst(story: Story) -> None:
    other = story.world.exchange(analyst=story.world.colleague)
    assert (6, "evidence.receipt") in failures(check(story.notebook(evidence=[other])))


def test_a_verifier_that_forgets_the_binding_is_not_enough(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(evidence: Evidence, data: bytes, endorsements: Any, now: datetime) -> Claims:
        claims = simulator.verify(evidence, data, endorsements, now)
        return msgspec.structs.replace(claims, report_data="00" * 64)

    monkeypatch.setattr(verifiers, "installed", lambda: {"simulator": careless})
    assert (6, "evidence.binding") in failures(check(story.notebook()))


def test_evidence_moved_to_another_exchange(story: Story) -> None:
    one, two = story.world.exchange(), story.world.exchange()
    mixed = msgspec.structs.replace(one, offer=two.offer)
    assert (6, "evidence.binding") in failures(check(story.notebook(evidence=[mixed])))


def test_evidence_with_the_opening_of_another_session(story: Story) -> None:
    one, two = story.world.exchange(), story.world.exchange()
    mixed = msgspec.structs.replace(one, opening=two.opening)
    assert (6, "analyst.signature") in failures(check(story.notebook(evidence=[mixed])))


# Contract and cards ----------------------------------------------------------------------------------


def test_a_forged_contract(story: Story) -> None:
    world = story.world
    terms = msgspec.structs.replace(world.terms, title="Other")
    forged = signing.sign_contract(terms, SigningKey.generate(), world.analyst, world.colleague)
    assert (2, "contract.unsigned") in failures(check(story.notebook(contract=forged)))
    edited = edit(world.contract, lambda body: body.__setitem__("title", "Other"))
    assert (2, "contract.unsigned") in failures(check(story.notebook(contract=edited)))


def test_a_contract_among_impostors_is_self_consistent_at_best() -> None:
    """Somebody who plays every party himself makes a notebook without a contradiction, of unknown origin."""
    honest, impostor = Story(), Story()
    report = check(impostor.notebook(), trust=pins(honest), allow_simulated=True)
    assert failures(report) == set()
    assert "origin unknown" in report.reservations
    assert report.anchors.providers == "unknown"
    assert report.exit_code == 1


def test_another_valid_contract_does_not_carry_the_receipts(story: Story) -> None:
    world = story.world
    other = signing.sign_contract(
        msgspec.structs.replace(world.terms, title="Other"), world.provider, world.analyst, world.colleague
    )
    found = failures(check(story.notebook(contract=other)))
    assert (5, "admission.contract") in found


def test_a_card_that_is_not_the_pinned_one(story: Story) -> None:
    other = signing.seal_card(msgspec.structs.replace(CARD, row_limit=2048), story.world.provider)
    assert (4, "card.missing") in failures(check(story.notebook(cards=[other])))
    forged = signing.seal_card(CARD, SigningKey.generate())
    assert (4, "card.signature") in failures(check(story.notebook(cards=[forged])))


def test_a_contract_that_has_ended_since_is_only_a_note(story: Story) -> None:
    report = verify(story.notebook(), now=datetime(2028, 1, 1, tzinfo=UTC))
    assert failures(report) == set()
    assert "contract.expired" in {found.code for found in report.findings}


# Code, order, completeness ---------------------------------------------------------------------------


def codes(report: Report, step: int) -> list[str]:
    return [found.code for found in report.of_step(step)]


def test_a_reformatted_cell_is_a_note(story: Story) -> None:
    notebook = story.notebook()
    notebook["cells"][2]["source"] = 'v.groupby(\n    "sex",\n).bmi.mean()  # by sex'
    report = check(notebook)
    assert failures(report) == set()
    assert "code.reformatted" in codes(report, 10)
    assert "not a fresh run" in report.run


def test_a_changed_cell_fails(story: Story) -> None:
    notebook = story.notebook()
    notebook["cells"][1]["source"] = "v[v.bmi > 30].count()"
    assert failures(check(notebook)) == {(10, "code.changed")}


def test_a_changed_cell_cannot_hide_behind_a_recall(story: Story) -> None:
    notebook = story.notebook()
    world = story.world
    chip = world.chip(world.facts(story.count, session="earlier", recalled=True))
    notebook["cells"][1] = code_cell("v[v.bmi > 30].count()", result("1003"), chip)
    report = check(notebook, trust=pins(story), allow_simulated=True)
    assert "code not in the notebook" in report.reservations
    assert report.exit_code == 1


def test_asking_again_in_another_cell_is_free_and_said(story: Story) -> None:
    notebook = story.notebook()
    world = story.world
    notebook["cells"].append(
        code_cell("v.count()  # again\nx = 1", world.chip(world.facts(story.count, recalled=True)))
    )
    report = check(notebook)
    assert failures(report) == set()
    assert set(report.reservations) == {"simulated", "origin unknown"}
    assert "code.recalled" in codes(report, 10)
    assert "reproducible" in report.run


def test_a_chip_of_another_session_must_say_that_it_is_recalled(story: Story) -> None:
    notebook = story.notebook()
    world = story.world
    notebook["cells"][1]["outputs"][1] = world.chip(world.facts(story.count, session="earlier"))
    assert (9, "chip.session") in failures(check(notebook))


@pytest.mark.parametrize("change", ["swap", "insert", "drop", "edit"])
def test_another_order_is_not_reproducible(story: Story, change: str) -> None:
    notebook = story.notebook()
    cells = notebook["cells"]
    if change == "swap":
        cells[1], cells[2] = cells[2], cells[1]
    elif change == "insert":
        cells.insert(1, code_cell("v = v[v.bmi > 30]"))
    elif change == "drop":
        del cells[0]
    else:
        cells[0]["source"] += "\nv = v[v.bmi > 30]"
    report = check(notebook)
    assert failures(report) == set(), "the releases are what they are"
    assert "not a fresh run" in report.run
    assert "run.order" in codes(report, 10)
    assert report.level(10) == "note"


def test_cells_the_enclave_never_sees_do_not_matter(story: Story) -> None:
    notebook = story.notebook()
    notebook["cells"].insert(1, code_cell("# mine\n%cloister status"))
    notebook["cells"].insert(1, code_cell("   "))
    notebook["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": "# Tour"})
    assert "reproducible" in check(notebook).run
    notebook["cells"].insert(1, code_cell("%cloister status\nx = 1"))
    assert "not a fresh run" in check(notebook).run


def test_a_release_without_its_chip_is_missed(story: Story) -> None:
    notebook = story.notebook()
    del notebook["cells"][1]["outputs"][1]
    report = check(notebook, trust=pins(story), allow_simulated=True)
    assert "completeness.not_shown" in codes(report, 12)
    assert report.reservations == ("simulated", "releases not shown")
    assert report.exit_code == 1
    assert report.counts.not_shown == 1


def test_a_chip_without_its_receipt_fails(story: Story) -> None:
    report = check(story.notebook(receipts=[story.world.sign(story.means)]))
    assert (9, "chip.unbound") in failures(report)


def test_a_release_outside_a_cell_is_said(story: Story) -> None:
    world = story.world
    background = msgspec.structs.replace(story.count, cause=Cause("background"))
    notebook = story.notebook(receipts=[world.sign(background), world.sign(story.means)])
    notebook["cells"][1]["outputs"][1] = world.chip(world.facts(background))
    report = check(notebook)
    assert failures(report) == set()
    assert "code.outside" in codes(report, 10)


# Malformed input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", [{}, {"cells": None}, {"cells": [1, {"cell_type": "code"}], "metadata": []}])
def test_no_bundle(notebook: Notebook) -> None:
    report = check(notebook)
    assert failures(report) == {(1, "bundle.absent")}
    assert report.exit_code == 2


@pytest.mark.parametrize("bad", [None, 7, {}, {"version": 2}, {"contract": 1.5}])
def test_a_bundle_that_is_none(story: Story, bad: Any) -> None:
    notebook = story.notebook()
    notebook["metadata"]["cloister"]["bundle"] = bad
    assert {step for step, _ in failures(check(notebook))} == {1}


def test_no_single_edit_of_the_bundle_goes_unnoticed(story: Story) -> None:
    """Flip a character in every text of the bundle, one after another: the report never stays the same and good."""
    notebook = story.notebook()
    good = check(notebook)
    texts = list(_texts(notebook["metadata"]["cloister"]["bundle"]))
    assert len(texts) > 20
    for path, text in texts:
        edited = copy.deepcopy(notebook)
        spot = len(text) // 2
        flipped = "A" if text[spot] != "A" else "B"
        _put(edited["metadata"]["cloister"]["bundle"], path, text[:spot] + flipped + text[spot + 1 :])
        report = check(edited)
        assert report.overall != VERIFIED
        assert failures(report) or report.reservations != good.reservations, path


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, str) and value:
        yield path, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*path, key))


def _put(value: Any, path: tuple[Any, ...], text: str) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = text


def test_no_notebook_crashes_the_verification(story: Story) -> None:
    """Random damage, 300 times: always a report, and never a better one than the honest notebook's."""
    import random

    draw = random.Random(7)
    honest = json.dumps(story.notebook())
    junk = [None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"releases": []}, "1e999999999", "\ud800", [1] * 50]
    for _ in range(300):
        notebook = json.loads(honest)
        for _ in range(draw.randint(1, 3)):
            places = list(_places(notebook))
            holder, key = draw.choice(places)
            holder[key] = copy.deepcopy(draw.choice(junk))
        report = check(notebook)
        assert report.exit_code in (1, 2)
        json.dumps(report.to_dict())
        report.to_text()


def test_deep_nesting_is_malformed(story: Story) -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    notebook = story.notebook()
    notebook["metadata"]["deep"] = deep
    assert {step for step, _ in failures(check(notebook))} == {1}


def test_a_price_that_would_take_all_memory(story: Story) -> None:
    huge = msgspec.structs.replace(story.count.noise[0], rho="1e999999999")
    assert (8, "receipt.rho") in signed(story, noise=(huge,))
    tiny = msgspec.structs.replace(story.count.noise[0], sigma=(1e-300).hex())
    assert {step for step, _ in signed(story, noise=(tiny,))} >= {8}


def _places(value: Any) -> Any:
    for key, item in list(value.items()) if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def test_bundling_twice_changes_nothing(story: Story) -> None:
    once = story.notebook()
    content = read_bundle(once)
    fields = {name: getattr(content, name) for name in ("contract", "cards", "admissions", "evidence", "receipts")}
    story.plain = once
    assert story.notebook(**fields) == once


# Hardware, through a verifier that is plugged in -----------------------------------------------------


LAUNCH = {"pcr0": "aa", "pcr1": "bb", "pcr2": "cc"}
COVERING = tuple(f"{name}={value}" for name, value in LAUNCH.items())


def plug_in(monkeypatch: pytest.MonkeyPatch, tee: str = "nitro", **changes: Any) -> None:
    """Let the simulator's evidence be read as that of hardware; ``changes`` are what this hardware says."""

    def verify_hard(evidence: Evidence, data: bytes, endorsements: Any, now: datetime) -> Claims:
        claims = simulator.verify(msgspec.structs.replace(evidence, tee="simulator"), data, endorsements, now)
        said = {"tee": tee, "assurance": "hardware", "warnings": (), "launch": LAUNCH, **changes}
        return msgspec.structs.replace(claims, **said)

    monkeypatch.setattr(verifiers, "installed", lambda: {tee: verify_hard})


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Story:
    """A story in a TEE of the test's own: its evidence is the simulator's, its verifier calls it hardware."""
    plug_in(monkeypatch)
    return Story(assurance="nitro")


def covering(story: Story, **changes: Any) -> ReviewerTrust:
    """Return trust that pins everything, launch measurements included."""
    pinned = msgspec.structs.replace(pins(story).measurement[0], launch=COVERING)
    return msgspec.structs.replace(pins(story), measurement=(pinned,), **changes)


def test_verified_needs_every_anchor(hardware: Story) -> None:
    report = check(hardware.notebook(), trust=covering(hardware))
    assert (report.overall, report.exit_code, report.reservations) == (VERIFIED, 0, ())
    assert set(msgspec.structs.astuple(report.anchors)) == {"pinned", "consistent"}


def test_on_hardware_code_counts_only_if_the_launch_measurement_covers_it(hardware: Story) -> None:
    report = check(hardware.notebook(), trust=pins(hardware))
    assert (report.overall, report.exit_code) == (ORIGIN_UNKNOWN, 1)


def test_launch_measurements_pinned_for_other_code_cover_nothing(hardware: Story) -> None:
    elsewhere = MeasurementPin("sha384:" + "cd" * 48, COVERING)
    trust = msgspec.structs.replace(pins(hardware), measurement=(*pins(hardware).measurement, elsewhere))
    assert check(hardware.notebook(), trust=trust).overall == ORIGIN_UNKNOWN


def test_nothing_pinned_is_origin_unknown(hardware: Story) -> None:
    report = check(hardware.notebook())
    assert (report.overall, report.reservations, report.exit_code) == (ORIGIN_UNKNOWN, ("origin unknown",), 1)


# The reviewer's own policy: every claim of the vector counts, not only debug and the pinned code.

REFUSED = [
    ("nitro", {"warnings": ("something",)}, {}, "appraisal.warning"),
    ("tdx", {}, {}, "appraisal.collateral"),
    ("tdx", {"platform": {"tcb_status": "OutOfDate", "details": {"tcb_eval_num": 17}}}, {}, "appraisal.tcb"),
    ("tdx", {"platform": {"tcb_status": "Revoked"}}, {}, "appraisal.tcb"),
    ("snp", {"platform": {"tcb": {"snp": 8}, "details": {"product": "Milan"}}}, {}, "appraisal.tcb"),
    ("nitro", {"platform": {"details": {"migratable": True}}}, {}, "appraisal.migratable"),
    ("snp", {"platform": {"details": {"vmpl": 2}}}, {}, "appraisal.vmpl"),
    ("nvidia-gpu", {"launch": {"measurement0": "aa"}}, {}, "appraisal.component"),
    ("nitro", {}, {"instance": Instance(("chip:other",))}, "appraisal.instance"),
    ("nitro", {}, {"reference": Reference(denied=("pcr0=aa",))}, "appraisal.measurement"),
    ("nitro", {}, {"accept": Accept(("nitro",), exclusive=True)}, "appraisal.tenancy"),
    ("nitro", {}, {"accept": Accept(("snp",))}, "appraisal.tee"),
    ("nitro", {}, {"isolation": Isolation("full")}, "appraisal.isolation"),
]


@pytest.mark.parametrize(
    ("tee", "says", "rules", "code"), REFUSED, ids=[f"{c}-{n}" for n, (*_, c) in enumerate(REFUSED)]
)
def test_the_reviewers_policy_judges_every_claim(
    tee: str, says: dict[str, Any], rules: dict[str, Any], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, tee, **says)
    story = Story(assurance=tee)
    policy = Policy("reviewer", **{"accept": Accept((tee,)), **rules})
    report = check(story.notebook(), trust=covering(story, policy=policy))
    found = [line for line in report.findings if line.step == 6 and line.code == code]
    assert found, [line.code for line in report.findings if line.step == 6]
    assert report.exit_code > 0
    assert report.overall != VERIFIED
    # A warning weakens the verdict and no option allows it; a contradiction of the policy is a failure.
    warned = found[0].level == "reservation"
    assert report.exit_code == (1 if warned else 2)
    allowed = check(story.notebook(), trust=covering(story, policy=policy), allow_unknown_origin=True)
    assert allowed.exit_code > 0


def test_without_a_policy_the_defaults_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "tdx")
    story = Story(assurance="tdx")
    report = check(story.notebook(), trust=covering(story))
    assert "platform not affirmed" in report.reservations
    assert report.anchors.tee == "unknown"


def test_a_reviewers_policy_may_refuse_simulated_enclaves_whatever_is_allowed(story: Story) -> None:
    for accept, why in (
        (Accept(("tdx",), simulated=True), "appraisal.tee"),
        (Accept(("simulator",)), "appraisal.simulated"),
    ):
        trust = msgspec.structs.replace(pins(story), policy=Policy("strict", accept))
        assert (6, why) in failures(check(story.notebook(), trust=trust, allow_simulated=True))
    trust = msgspec.structs.replace(pins(story), policy=Policy("mild", Accept(("simulator",), simulated=True)))
    assert check(story.notebook(), trust=trust, allow_simulated=True).exit_code == 0


def test_a_trust_file_holds_a_policy_and_what_it_says_is_checked() -> None:
    text = 'version = 1\n[policy]\nname = "mine"\n[policy.accept]\ntees = ["tdx"]\n[policy.hardware]\nevaluation = 17\n'
    policy = parse_trust(text).policy
    assert policy is not None
    assert (policy.accept.tees, policy.hardware.evaluation) == (("tdx",), 17)
    for wrong in ("unknown = 1\n", "minimum_tcb.Milan = { snp = 1 }\n"):
        with pytest.raises(MalformedError):
            parse_trust(text + wrong)


def test_a_reviewers_endorsements_stand_in_for_what_evidence_does_not_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, bytes]] = []

    def verify_with(evidence: Evidence, data: bytes, given: Any, now: datetime) -> Claims:
        seen.append(dict(given))
        raise RejectedError("evidence.signature", "no matter")

    monkeypatch.setattr(verifiers, "installed", lambda: {"gcp-oidc": verify_with})
    story = Story(assurance="gcp-oidc")
    kept = add(Endorsements(), read_entry("jwks", b"keys", NOW))
    assert (6, "evidence.signature") in failures(check(story.notebook(), endorsements=kept))
    assert seen == [{"jwks": b"keys"}]


def released(folder: Path, story: Story, signer: SigningKey, *, covers: bool = True) -> ReviewerTrust:
    """Return the trust of a file that pins no measurement itself, but a signer of releases."""
    stated = References("nitro", COVERING, covers_code=covers)
    one = SoftwareRelease("1.0", signer.did, story.count.env_digest, "2026-01-01T00:00:00Z", (stated,))
    (folder / "release.json").write_bytes(canonical.encode(sign_release(one, signer)))
    provider = f'[[provider]]\ndid = "{story.world.provider.did}"\n'
    head = f'version = 1\nrelease_signers = ["{signer.did}"]\nreleases = ["release.json"]\n'
    (folder / "trust.toml").write_text(head + provider)
    return load_trust(folder / "trust.toml")


def test_a_release_by_a_signer_of_the_reviewers_pins_code_and_measurements(hardware: Story, tmp_path: Path) -> None:
    signer = SigningKey.generate()
    assert check(hardware.notebook(), trust=released(tmp_path, hardware, signer)).overall == VERIFIED
    loose = released(tmp_path, hardware, signer, covers=False)
    assert check(hardware.notebook(), trust=loose).overall == ORIGIN_UNKNOWN
    text = (tmp_path / "trust.toml").read_text()
    (tmp_path / "trust.toml").write_text(text.replace(signer.did, SigningKey.generate().did))
    with pytest.raises(TrustError) as excinfo:
        load_trust(tmp_path / "trust.toml")
    assert excinfo.value.code == "release.signer"
    for wrong in (text.replace("release_signers", "# "), text.replace("release.json", "none.json")):
        (tmp_path / "trust.toml").write_text(wrong)
        with pytest.raises(CloisterError):
            load_trust(tmp_path / "trust.toml")


def test_an_unknown_tee_is_not_believed(hardware: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "installed", dict)
    assert (6, "evidence.tee") in failures(check(hardware.notebook()))


# Accounts, where a notebook carries proofs -----------------------------------------------------------


def proof(
    story: Story, *, signer: SigningKey | None = None, broker: str = "", releases: int = 2, **changes: Any
) -> Proof:
    """The broker's log with both charges of the story between two others, and a signed tip of it."""
    world, others = story.world, [b"someone", b"else"]
    entries = [
        Entry(
            r.charge_id,
            "clinic.patients",
            world.digest,
            world.analyst.did,
            r.rho,
            "0",
            r.plan_digest,
            Usage(1024, 1, 0),
        )
        for r in (story.count, story.means)
    ]
    entries = [msgspec.structs.replace(entry, **changes) for entry in entries]
    leaves = [log.leaf_hash(data) for data in (others[0], *map(canonical.encode, entries), others[1])]
    reply = LedgerReply(
        op="tip", request="r", nonce="n", broker=broker or world.broker.did, vault_id=world.vault.did, status="ok",
        population="clinic.patients", size=4, root=log.root_text(log.root(leaves)), spent="1", limit="2",
        contract_spent="1", analyst_spent="1", analyst_limit="2", used=Used(releases), limits=world.terms.limits,
        epoch=1, lease="", time="2026-06-01T12:00:00Z",
    )  # fmt: skip
    included = tuple(
        Inclusion(entry, index, tuple(step.hex() for step in log.inclusion_proof(leaves, index)))
        for index, entry in enumerate(entries, start=1)
    )
    return Proof(seal(REPLY_TYPE, canonical.encode(reply), signer or world.broker), included)


def test_charges_proven_to_be_in_the_log(story: Story) -> None:
    report = check(story.notebook(proofs=[proof(story)]))
    assert failures(report) == set()
    assert report.level(11) == "ok"
    assert report.completeness == "2 of 2 releases shown; 0 executions not in this notebook."


def test_a_checkpoint_counts_what_is_not_here(story: Story) -> None:
    report = check(story.notebook(proofs=[proof(story, releases=5)]))
    assert report.completeness == "2 of 5 releases shown; 3 executions not in this notebook."
    assert report.level(12) == "note"


def test_a_checkpoint_by_nobody_or_by_a_stranger(story: Story) -> None:
    own = SigningKey.generate()
    assert (11, "signature.missing") in failures(check(story.notebook(proofs=[proof(story, signer=own)])))
    assert (11, "account.broker") in failures(check(story.notebook(proofs=[proof(story, signer=own, broker=own.did)])))


def test_an_entry_that_is_not_in_the_log(story: Story) -> None:
    good = proof(story)
    moved = msgspec.structs.replace(good.entries[0], index=2)
    edited = msgspec.structs.replace(good, entries=(moved,))
    assert (11, "log.inclusion") in failures(check(story.notebook(proofs=[edited])))


def test_an_entry_of_another_price(story: Story) -> None:
    assert (11, "account.entry") in failures(check(story.notebook(proofs=[proof(story, rho="1/1000")])))


def _with_a_file() -> Notebook:
    """A notebook that puts a file in before it counts, as an analyst hands it over."""
    story = Story()
    world = story.world
    name, digest = "regions.csv", canonical.digest_bytes(b"a,b")
    world.transcript = code.transcript_start(world.session)
    sources = [cell["source"] for cell in story.plain["cells"]]
    world.ran(sources[0])
    world.transcript = code.transcript_add(world.transcript, "put", code.put_code(name, digest))
    world.ran(sources[1])
    count = world.receipt(sources[1], (1003,))
    metadata = {"cloister": {"put": {"name": name, "sha256": digest, "size": 3}}}
    shown = {"output_type": "display_data", "data": {"text/plain": "file"}, "metadata": metadata}
    story.plain["cells"] = [
        code_cell(sources[0]),
        code_cell("%cloister put regions.csv", shown),
        code_cell(sources[1], result("1003"), world.chip(world.facts(count))),
    ]
    return story.notebook(receipts=[world.sign(count)])


def test_a_file_that_was_put_in_belongs_to_the_run() -> None:
    report = check(_with_a_file())
    assert not failures(report)
    assert "with the files it put in" in report.run


@pytest.mark.parametrize("change", ["another file", "another name", "no file", "failed", "moved", "twice", "malformed"])
def test_another_file_is_another_run(change: str) -> None:
    notebook = _with_a_file()
    cells = notebook["cells"]
    put = cells[1]["outputs"][0]["metadata"]["cloister"]["put"]
    if change == "another file":
        put["sha256"] = canonical.digest_bytes(b"a,c")
    elif change == "another name":
        put["name"] = "other.csv"
    elif change == "no file":
        del cells[1]
    elif change == "failed":
        cells[1]["outputs"] = []
    elif change == "moved":
        cells[1], cells[0] = cells[0], cells[1]
    elif change == "twice":
        cells[1]["outputs"] *= 2
    else:
        cells[1]["outputs"][0]["metadata"]["cloister"]["put"] = ["regions.csv"]
    assert "not a fresh run" in check(notebook).run


def test_a_refined_value_rests_on_two_receipts(story: Story) -> None:
    """1003 with sigma 4, then 1017 with sigma 2: the combined 1014 is in no receipt, and accounted for by both."""
    world = story.world
    source = "v.count().release.refine(share=0.1)"
    world.ran(source)
    second = world.receipt(source, (1017,), sigma=2.0)
    second = world.renamed(second, plan={**second.plan, "draw": 1})
    chip = world.chip(world.facts(story.count, recalled=True), world.facts(second))
    story.plain["cells"].append(code_cell(source, result("1014"), chip))

    def numbers(*receipts: Any) -> tuple[int, set[str]]:
        report = check(story.notebook(receipts=[world.sign(receipt) for receipt in (*receipts, story.means)]))
        return report.counts.numbers_unaccounted, {finding.code for finding in report.findings}

    unaccounted, codes = numbers(story.count, second)
    assert (unaccounted, "number.refined" in codes) == (0, True)
    alone = world.renamed(second, plan={**second.plan, "draw": 0})
    unaccounted, codes = numbers(story.count, alone)
    assert unaccounted >= 1, "two answers of one draw are no refinement"
    assert "number.refined" not in codes
