"""Opening contracts and cards: every unsigned, foreign, timeless or senseless one is refused with advice."""

from __future__ import annotations

import ast
import base64
import json
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cloister import cli
from cloister.contract import algorithms, differences, lint, signing, states, words
from cloister.contract.card import Card, Column
from cloister.contract.clauses import Access, Approver, Obligation, PackTerms, Software, Tariff
from cloister.contract.exits import DeliverTerms, Exits, MatchTerms, Receiver
from cloister.contract.states import Decision
from cloister.contract.terms import (
    CONTRACT_TYPE,
    AnalystLimit,
    Broker,
    Budget,
    Contract,
    Limits,
    Party,
    TableTerms,
)
from cloister.errors import ContractError
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey

PROVIDER, ANALYST, BROKER, STRANGER = (SigningKey.generate() for _ in range(4))
DIGEST = "sha256:" + "1" * 64
OTHER_DIGEST = "sha256:" + "2" * 64
NOW = "2026-06-01T00:00:00Z"
replace = msgspec.structs.replace

CARD = Card(
    name="clinic.visits",
    title="Visits",
    description="Invented",
    unit="patient",
    key=("patient",),
    normaliser="exact",
    population="clinic.patients",
    rows_per_unit=3,
    row_limit=1024,
    grade="demonstration",
    columns=(
        Column("patient", "string", 2, "Who"),
        Column("age", "int", 2, "Years", low="0", high="110", step="1"),
        Column("bmi", "decimal", 3, "BMI", low="10.0", high="60.0", step="0.1"),
        Column("day", "date", 2, "When", low="2022-01-01", high="2024-12-31"),
        Column("sex", "string", 2, "Sex", domain=("f", "m")),
    ),
    source="test",
    retention="test",
    purposes=("research",),
    order="day",
)

CONTRACT = Contract(
    name="clinic-2026",
    title="Visits for research",
    parties=(Party("clinic", PROVIDER.did, "provider"), Party("ana", ANALYST.did, "analyst")),
    brokers=(Broker("clinic-broker", BROKER.did, "http://127.0.0.1:1"),),
    tables=(TableTerms("clinic.visits", "clinic", "clinic-broker", DIGEST, DIGEST),),
    purposes=("research",),
    operations=("aggregate",),
    regime="dp",
    budgets=(Budget("clinic.patients", "clinic-broker", "8", "0.000001", "0.02"),),
    analyst_limits=(AnalystLimit("ana", "clinic.patients", "1/2"),),
    limits=Limits(1000, 10**6, 10**4, 0),
    policies={"clinic": DIGEST},
    placement="split",
    tenancy="exclusive",
    accept_simulated=False,
    share_releases=False,
    not_before="2026-01-01T00:00:00Z",
    not_after="2027-01-01T00:00:00Z",
)
RECEIVER = Receiver("bureau", base64.b64encode(bytes(range(32))).decode())
EXITS = Exits(
    (RECEIVER,), (MatchTerms("clinic.visits", "sex", 100, 1, "f"),), (DeliverTerms(OTHER_DIGEST, "bureau", 1),)
)
TWO = replace(CONTRACT, parties=(*CONTRACT.parties, Party("bob", STRANGER.did, "analyst")))


def sign(contract=CONTRACT, *keys):
    return signing.sign_contract(contract, *(keys or (PROVIDER, ANALYST)))


def refused(document, *, now=NOW):
    with pytest.raises(ContractError) as caught:
        signing.open_contract(document, now=now)
    assert caught.value.reason
    return caught.value


# Signatures ------------------------------------------------------------------------------------------


def test_a_good_contract_opens():
    assert signing.open_contract(sign(), now=NOW) == CONTRACT


def test_the_digest_is_that_of_the_terms_whoever_signed():
    digests = {signing.contract_digest(document) for document in (sign(), sign(CONTRACT, PROVIDER), CONTRACT)}
    assert len(digests) == 1
    assert signing.contract_digest(replace(CONTRACT, share_releases=True)) not in digests


@pytest.mark.parametrize(
    ("keys", "missing"), [((PROVIDER,), "ana"), ((ANALYST,), "clinic"), ((STRANGER,), "clinic, ana")]
)
def test_every_party_must_have_signed(keys, missing):
    error = refused(sign(CONTRACT, *keys))
    assert error.code == "contract.unsigned"
    assert missing in error.reason
    assert error.next_step


def test_nobody_else_may_have_signed():
    assert refused(sign(CONTRACT, PROVIDER, ANALYST, STRANGER)).code == "contract.signer"


def test_a_signature_twice_is_not_two_signatures():
    good = sign()
    doubled = replace(good, signatures=(good.signatures[0], good.signatures[0], good.signatures[1]))
    assert refused(doubled).code == "contract.unsigned"


def test_a_borrowed_signature_does_not_count():
    other = sign(replace(CONTRACT, limits=Limits(999_999, 10**6, 10**4, 0)))
    assert refused(replace(other, signatures=sign().signatures)).code == "contract.unsigned"
    renamed = tuple(replace(signature, keyid=ANALYST.did) for signature in sign(CONTRACT, PROVIDER).signatures)
    assert refused(replace(sign(), signatures=(*sign(CONTRACT, PROVIDER).signatures, *renamed))).code == (
        "contract.unsigned"
    )


def test_parties_sign_one_after_another():
    draft = sign(CONTRACT, PROVIDER)
    assert signing.missing_signers(draft) == ("ana",)
    complete = signing.add_signature(draft, ANALYST)
    assert signing.missing_signers(complete) == ()
    assert signing.open_contract(complete, now=NOW) == CONTRACT
    with pytest.raises(ContractError, match=r"contract\.signer"):
        signing.add_signature(draft, STRANGER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"null",
        canonical.encode(CONTRACT) + b" ",
        canonical.encode(CONTRACT).replace(b'"version":1', b'"version":2'),
        canonical.encode(CONTRACT).replace(b'"name":', b'"unknown":1,"name":', 1),
        canonical.encode(CONTRACT).replace(b'"regime":"dp"', b'"regime":"none"'),
        canonical.encode(CONTRACT).replace(b'"limits":', b'"limits":{"releases":9},"limits":', 1),
    ],
)
def test_what_is_not_one_canonical_contract(body):
    assert refused(envelope.seal(CONTRACT_TYPE, body, PROVIDER, ANALYST)).code == "contract.malformed"


def test_another_document_type():
    assert refused(envelope.seal("application/json", canonical.encode(CONTRACT), PROVIDER)).code == "contract.malformed"
    document = replace(sign(), payload="not base64!")
    assert refused(document).code == "contract.malformed"


# Time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "code"),
    [
        ("2025-12-31T23:59:59Z", "contract.not-yet-valid"),
        ("2026-01-01T00:00:00Z", None),
        ("2026-12-31T23:59:59Z", None),
        ("2027-01-01T00:00:00Z", "contract.expired"),
        ("2030-01-01T00:00:00Z", "contract.expired"),
        ("", "contract.time"),
        ("tomorrow", "contract.time"),
        ("2026-06-01T00:00:00+02:00", "contract.time"),
        ("2026-06-01", "contract.time"),
        ("2026-13-01T00:00:00Z", "contract.time"),
    ],
)
def test_validity_window(now, code):
    if code is None:
        signing.open_contract(sign(), now=now)
    else:
        assert refused(sign(), now=now).code == code


# Sense -----------------------------------------------------------------------------------------------

BUDGET, TABLE, SHARE = CONTRACT.budgets[0], CONTRACT.tables[0], CONTRACT.analyst_limits[0]
BAD = {
    "wildcard purpose": ({"purposes": ("*",)}, "contract.wildcard"),
    "empty purpose": ({"purposes": ("research", "")}, "contract.wildcard"),
    "any purpose": ({"purposes": ("Any",)}, "contract.wildcard"),
    "wildcard table": ({"tables": (replace(TABLE, name="clinic.*"),)}, "contract.wildcard"),
    "wildcard population": ({"budgets": (replace(BUDGET, population="%"),)}, "contract.wildcard"),
    "wildcard analyst": ({"analyst_limits": (replace(SHARE, analyst="*"),)}, "contract.wildcard"),
    "no purpose": ({"purposes": ()}, "contract.purposes"),
    "no operation": ({"operations": ()}, "contract.purposes"),
    "no table": ({"tables": ()}, "contract.reference"),
    "unknown provider": ({"tables": (replace(TABLE, provider="other"),)}, "contract.reference"),
    "analyst as provider": ({"tables": (replace(TABLE, provider="ana"),)}, "contract.reference"),
    "unknown broker": ({"tables": (replace(TABLE, broker="other"),)}, "contract.reference"),
    "no broker": ({"brokers": ()}, "contract.reference"),
    "table twice": ({"tables": (TABLE, TABLE)}, "contract.duplicate"),
    "capsule twice": ({"tables": (TABLE, replace(TABLE, name="clinic.b"))}, "contract.duplicate"),
    "no digest": ({"tables": (replace(TABLE, card="sha256:12"),)}, "contract.digest"),
    "broker without did": ({"brokers": (replace(CONTRACT.brokers[0], did="did:web:x"),)}, "contract.did"),
    "broker without address": ({"brokers": (replace(CONTRACT.brokers[0], url="file:///x"),)}, "contract.broker"),
    "analyst keeps the account": (
        {"brokers": (replace(CONTRACT.brokers[0], did=ANALYST.did),)},
        "contract.self-granted",
    ),
    "no budget": ({"budgets": ()}, "contract.budget"),
    "budget twice": ({"budgets": (BUDGET, replace(BUDGET, epsilon="9"))}, "contract.duplicate"),
    "budget elsewhere": ({"budgets": (BUDGET, replace(BUDGET, broker="other"))}, "contract.reference"),
    **{
        f"epsilon {value}": ({"budgets": (replace(BUDGET, epsilon=value),)}, "contract.budget")
        for value in ("0", "-1", "800", "inf", "nan", "1e2", "", "8 ", "eight", "1/0", "9" * 99)
    },
    **{
        f"delta {value}": ({"budgets": (replace(BUDGET, delta=value),)}, "contract.budget")
        for value in ("0", "1", "0.1", "-0.1", "1e-6")
    },
    **{
        f"delta for keys {value}": ({"budgets": (replace(BUDGET, delta_keys=value),)}, "contract.budget")
        for value in ("0.000001", "0.1", "-1", "nan", "1/0", "")
    },
    **{
        f"default share {value}": ({"budgets": (replace(BUDGET, default_share=value),)}, "contract.share")
        for value in ("0", "1.01", "-1", "all")
    },
    **{
        f"share {value}": ({"analyst_limits": (replace(SHARE, share=value),)}, "contract.share")
        for value in ("0", "2", "-1/2", "1/0")
    },
    "share of a provider": ({"analyst_limits": (replace(SHARE, analyst="clinic"),)}, "contract.reference"),
    "share of no budget": ({"analyst_limits": (replace(SHARE, population="x"),)}, "contract.reference"),
    "share twice": ({"analyst_limits": (SHARE, SHARE)}, "contract.duplicate"),
    "a negative limit": ({"limits": Limits(-1, 10**6, 10**4, 0)}, "contract.limit"),
    "negative rows": ({"limits": Limits(1, -1, 10**4, 0)}, "contract.limit"),
    "negative compute": ({"limits": Limits(1, 10**6, -1, 0)}, "contract.limit"),
    "negative models": ({"limits": Limits(1, 10**6, 10**4, -1)}, "contract.limit"),
    "policy of nobody": ({"policies": {"eve": DIGEST}}, "contract.reference"),
    "policy without digest": ({"policies": {"clinic": "strict"}}, "contract.digest"),
    "ends before it begins": ({"not_after": "2025-01-01T00:00:00Z"}, "contract.validity"),
    "no time": ({"not_before": "soon"}, "contract.validity"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_contract_that_makes_no_sense(name):
    change, code = BAD[name]
    error = refused(sign(replace(CONTRACT, **change)))
    assert error.code == code
    assert error.clause
    assert error.next_step


def test_an_account_counts_one_kind_of_unit():
    """Broker, population and unit: two cards of one population at one broker must protect the same thing."""
    wards = replace(CARD, name="clinic.wards", unit="ward")
    both = replace(
        CONTRACT, tables=(*CONTRACT.tables, TableTerms("clinic.wards", "clinic", "clinic-broker", DIGEST, "x"))
    )

    def codes(contract, card):
        found = lint.contract_findings(contract, {CARD.name: CARD, card.name: card})
        return {finding.code for finding in lint.errors_of(found)}

    assert "contract.unit" in codes(both, wards)
    assert "contract.unit" not in codes(both, replace(wards, unit="patient"))
    assert "contract.unit" not in codes(both, replace(wards, unit="none", key=()))
    elsewhere = replace(both.tables[1], broker="other-broker")
    assert "contract.unit" not in codes(replace(both, tables=(both.tables[0], elsewhere)), wards)


def test_a_contract_signed_before_delta_for_keys_still_opens():
    """The field is not written where it is 0: the same bytes, the same digest, the same signatures."""
    written = canonical.encode(CONTRACT)
    assert b"delta_keys" not in written
    assert b"delta_keys" in canonical.encode(replace(CONTRACT, budgets=(replace(BUDGET, delta_keys="0.0000005"),)))
    opened = msgspec.json.decode(written, type=Contract).budgets[0]
    assert opened.delta_conversion == Fraction(1, 10**6)


def limit_findings(contract, cards=None):
    found = lint.contract_findings(contract, cards)
    return {(finding.level, finding.clause) for finding in found if finding.code == "contract.limit"}


def test_limits_are_counts_and_nothing_is_limited_by_mistake():
    def of(**counts):
        return replace(CONTRACT, limits=replace(CONTRACT.limits, **counts))

    for name in Limits.__struct_fields__:
        assert limit_findings(of(**{name: 2**53 + 1})) >= {("error", f"limits.{name}")}
        assert not [level for level, _ in limit_findings(of(**{name: 0})) if level == "error"], "0 means none at all"
    assert limit_findings(CONTRACT) == set()
    for name in ("releases", "rows", "compute"):
        assert limit_findings(of(**{name: 0})) == {("warning", f"limits.{name}")}
    assert limit_findings(of(models=3)) == {("warning", "limits.models")}, "models are not among the operations"
    both = replace(CONTRACT, operations=("aggregate", "model"))
    assert limit_findings(both) == {("warning", "limits.models")}, "none of them is allowed"
    assert limit_findings(replace(both, limits=replace(CONTRACT.limits, models=3))) == set()
    assert limit_findings(CONTRACT, {CARD.name: CARD}) == set()
    assert limit_findings(of(rows=CARD.row_limit), {CARD.name: CARD}) == set()
    assert limit_findings(of(rows=CARD.row_limit - 1), {CARD.name: CARD}) == {("warning", "limits.rows")}


def test_nobody_grants_data_to_himself():
    both = (Party("clinic", ANALYST.did, "provider"), Party("ana", ANALYST.did, "analyst"))
    contract = replace(CONTRACT, parties=both)
    assert "contract.self-granted" in {finding.code for finding in lint.errors_of(lint.contract_findings(contract))}
    with pytest.raises(ContractError):
        signing.open_contract(sign(contract, ANALYST), now=NOW)
    for role in ("provider", "analyst"):
        parties = tuple(party for party in CONTRACT.parties if party.role != role)
        codes = {finding.code for finding in lint.contract_findings(replace(CONTRACT, parties=parties))}
        assert "contract.parties" in codes


def test_shares_add_to_at_most_the_whole():
    def shares(*parts):
        limits = tuple(
            AnalystLimit(who, "clinic.patients", share) for who, share in zip(("ana", "bob"), parts, strict=True)
        )
        return sign(replace(TWO, analyst_limits=limits), PROVIDER, ANALYST, STRANGER)

    signing.open_contract(shares("1/2", "1/2"), now=NOW)
    assert refused(shares("1/2", "51/100")).code == "contract.share"


# Against the cards -----------------------------------------------------------------------------------


def codes(contract, card=CARD):
    return {finding.code for finding in lint.contract_findings(contract, {card.name: card}) if finding.level == "error"}


def test_contract_and_cards_fit():
    assert codes(CONTRACT) == set()
    assert codes(CONTRACT, replace(CARD, name="other")) == {"contract.reference"}
    assert codes(CONTRACT, replace(CARD, population="others")) == {"contract.budget"}
    assert codes(CONTRACT, replace(CARD, purposes=("teaching",))) == {"contract.purposes"}


def test_tier_three_needs_separation_and_genuine_hardware():
    production = replace(CARD, grade="production")
    hosted = replace(CONTRACT, hosts=("chip:01",))
    assert codes(hosted, production) == set()
    assert codes(CONTRACT, production) == {"contract.hosts"}
    assert codes(replace(hosted, placement="colocated"), production) == {"contract.tier"}
    assert codes(replace(hosted, tenancy="shared"), production) == {"contract.tier"}
    assert codes(replace(hosted, accept_simulated=True), production) == {"contract.simulated"}
    assert codes(replace(CONTRACT, accept_simulated=True, placement="colocated")) == set()  # demonstration grade


# Cards -----------------------------------------------------------------------------------------------


def column(**change):
    name = change.pop("name", "age")
    columns = tuple(replace(c, **change) if c.name == name else c for c in CARD.columns)
    return replace(CARD, columns=columns)


BAD_CARDS = {
    "step does not divide": (column(step="3"), "card.step"),
    "no step": (column(step=None), "card.bounds"),
    "negative step": (column(step="-1"), "card.step"),
    "zero step": (column(step="0"), "card.step"),
    "low above high": (column(low="200"), "card.bounds"),
    "low equals high": (column(low="110"), "card.bounds"),
    "no bounds": (column(low=None, high=None), "card.bounds"),
    "float notation": (column(high="1e3"), "card.bounds"),
    "half an int": (column(low="0.5", high="110.5", step="1"), "card.bounds"),
    "zero off the grid": (column(name="bmi", low="10.05", high="60.05", step="0.1"), "card.grid"),
    "grid too fine": (column(name="bmi", step="1/" + "1" + "0" * 14), "card.step"),
    "dates the wrong way": (column(name="day", low="2025-01-01"), "card.bounds"),
    "no ISO date": (column(name="day", low="01.02.2022"), "card.bounds"),
    "impossible date": (column(name="day", low="2022-02-30"), "card.bounds"),
    "step of a date": (column(name="day", step="7"), "card.step"),
    "text without domain": (column(name="sex", domain=None), "card.domain"),
    "empty domain": (column(name="sex", domain=()), "card.domain"),
    "category twice": (column(name="sex", domain=("f", "f")), "card.domain"),
    "other listed": (column(name="sex", domain=("f", "(other)")), "card.domain"),
    "empty category": (column(name="sex", domain=("f", "")), "card.domain"),
    "long category": (column(name="sex", domain=("f", "m" * 257)), "card.domain"),
    "bounds of a text": (column(name="sex", low="0"), "card.bounds"),
    "domain of a number": (column(domain=("1",)), "card.domain"),
    "key could be released": (column(name="patient", domain=("P1",)), "card.key-released"),
    "date as key": (replace(CARD, key=("day",)), "card.key"),
    "no key": (replace(CARD, key=()), "card.key"),
    "key of a reference table without a domain": (replace(CARD, unit="none"), "card.domain"),
    "reference table looked up by measurements": (replace(CARD, unit="none", key=("bmi",)), "card.key"),
    "unknown key": (replace(CARD, key=("nobody",)), "card.key"),
    "key twice": (replace(CARD, key=("patient", "patient")), "card.key"),
    "unknown order": (replace(CARD, order="nothing"), "card.order"),
    "no rows per unit": (replace(CARD, rows_per_unit=0), "card.rows"),
    "more rows per unit than rows": (replace(CARD, rows_per_unit=2048), "card.rows"),
    "no rows": (replace(CARD, row_limit=0), "card.rows"),
    "no columns": (replace(CARD, columns=(), key=(), unit="none", order=None), "card.columns"),
    "column twice": (replace(CARD, columns=(*CARD.columns, CARD.columns[1])), "card.duplicate"),
    "reserved name": (replace(CARD, columns=(*CARD.columns, Column("__x", "bool", 1, "x"))), "card.name"),
    "every purpose": (replace(CARD, purposes=("*",)), "card.wildcard"),
    "no purpose": (replace(CARD, purposes=()), "card.purposes"),
    "no title": (replace(CARD, title=""), "card.empty"),
}


@pytest.mark.parametrize("name", BAD_CARDS)
def test_a_card_that_cannot_be_enforced(name):
    card, code = BAD_CARDS[name]
    found = lint.errors_of(lint.card_findings(card))
    assert code in {finding.code for finding in found}
    assert all(finding.clause and finding.text and finding.advice for finding in found)


def test_a_good_card_has_no_findings():
    assert lint.card_findings(CARD) == ()
    assert lint.card_findings(replace(CARD, columns=CARD.columns[1:], unit="none", key=("sex", "day"))) == ()


@pytest.mark.parametrize("change", [{"name": "bmi", "tier": 4}, {"personal": True, "tier": 1}])
def test_questionable_tiers_are_warnings(change):
    found = lint.card_findings(column(**change))
    assert [(finding.level, finding.code) for finding in found] == [("warning", "card.tier")]


def test_cards_are_signed_and_pinned():
    document = signing.seal_card(CARD, PROVIDER)
    digest = signing.payload_digest(document)
    assert signing.open_card(document, PROVIDER.did, pinned=digest) == CARD
    with pytest.raises(ContractError, match=r"card\.digest"):
        signing.open_card(document, PROVIDER.did, pinned=DIGEST)
    with pytest.raises(ContractError, match=r"card\.signature"):
        signing.open_card(document, STRANGER.did)
    edited = base64.b64encode(canonical.encode(replace(CARD, rows_per_unit=1))).decode()
    with pytest.raises(ContractError, match=r"card\.signature"):
        signing.open_card(replace(document, payload=edited), PROVIDER.did)
    with pytest.raises(ContractError, match=r"card\.malformed"):
        signing.open_card(envelope.seal(document.payloadType, b"{}", PROVIDER), PROVIDER.did)


# States and words ------------------------------------------------------------------------------------


def test_the_life_of_a_contract():
    draft = sign(CONTRACT, STRANGER)
    assert states.state_of(draft, None, now=NOW) == "draft"
    assert states.state_of(sign(CONTRACT, PROVIDER), None, now=NOW) == "offered"
    assert states.state_of(sign(), None, now=NOW) == "signed"
    active = Decision("active", NOW)
    assert states.state_of(sign(), active, now=NOW) == "active"
    assert states.state_of(sign(CONTRACT, PROVIDER), active, now=NOW) == "offered"
    assert states.state_of(sign(), active, now="2025-06-01T00:00:00Z") == "signed"
    assert states.state_of(sign(), Decision("suspended", NOW), now=NOW) == "suspended"
    assert states.state_of(sign(), active, now="2027-01-01T00:00:00Z") == "expired"
    assert states.state_of(sign(), Decision("revoked", NOW), now="2028-01-01T00:00:00Z") == "revoked"


@pytest.mark.parametrize("following", ["active", "suspended"])
def test_revoked_is_final(following):
    with pytest.raises(ContractError, match=r"contract\.state"):
        states.decide(Decision("revoked", NOW), Decision(following, NOW))
    assert states.decide(Decision("active", NOW), Decision("suspended", NOW)).state == "suspended"


def test_plain_words():
    text = words.in_words(replace(CONTRACT, accept_simulated=True))
    for piece in ("clinic lets ana use", "clinic.visits", "research", "epsilon 8", "2 %", "50 %", "SIMULATED", "1,000"):
        assert piece in text
    assert PROVIDER.did not in text
    assert "SIMULATED" not in words.in_words(CONTRACT)


def test_every_clause_is_in_the_words_or_is_a_pin():
    """A clause that changes without changing the words is one that people sign unread."""
    silent = {"version", "regime", "policies", "brokers", "parties"}
    changes = {
        "name": "x",
        "title": "x",
        "tables": (replace(TABLE, name="clinic.more"),),
        "purposes": ("teaching",),
        "operations": ("aggregate", "model"),
        "budgets": (replace(BUDGET, epsilon="4"),),
        "analyst_limits": (),
        "limits": Limits(1, 10**6, 10**4, 0),
        "placement": "colocated",
        "tenancy": "shared",
        "accept_simulated": True,
        "share_releases": True,
        "not_before": "2026-02-01T00:00:00Z",
        "not_after": "2026-12-01T00:00:00Z",
        "exits": EXITS,
        "algorithms": ("PCA@1",),
        "access": (Access("ana", "clinic.visits", ("age",)),),
        "approvers": (Approver("carla", STRANGER.did, "clinic"),),
        "pack": PackTerms("beijing-4", OTHER_DIGEST),
        "obligations": (Obligation("expiry", "destroy-keys"),),
        "tariffs": (Tariff("clinic-broker", "CNY", "1"),),
        "amends": OTHER_DIGEST,
        "hosts": ("chip:01",),
        "software": Software((STRANGER.did,), "1.0"),
        "display_mark": True,
    }
    assert set(changes) | silent == set(Contract.__struct_fields__)
    for field, value in changes.items():
        assert words.in_words(replace(CONTRACT, **{field: value})) != words.in_words(CONTRACT), field
    for name in Limits.__struct_fields__:
        other = replace(CONTRACT.limits, **{name: 7})
        assert words.in_words(replace(CONTRACT, limits=other)) != words.in_words(CONTRACT), name


def test_difference():
    after = replace(CONTRACT, limits=Limits(5, 10**6, 10**4, 3), purposes=("research", "teaching"))
    assert differences.difference(CONTRACT, after) == (
        "limits.models: 0 -> 3",
        "limits.releases: 1000 -> 5",
        "purposes[1]: (none) -> teaching",
    )
    assert differences.difference(CONTRACT, CONTRACT) == ()


def test_exits_are_in_the_digest_and_a_contract_without_them_keeps_its_own():
    """The clause is written only where there is one: every contract signed before it existed has the same bytes."""
    assert b"exits" not in canonical.encode(CONTRACT)
    assert canonical.digest(replace(CONTRACT, exits=EXITS)) != canonical.digest(CONTRACT)
    assert msgspec.convert(msgspec.to_builtins(replace(CONTRACT, exits=EXITS)), Contract).outside == EXITS
    assert CONTRACT.excluded == ()
    assert replace(CONTRACT, exits=EXITS).excluded == ("match releases", "deliver releases")


def test_the_words_say_what_the_guarantee_excludes():
    text = words.in_words(replace(CONTRACT, exits=EXITS))
    for piece in (
        "the formal guarantee excludes match releases and deliver releases",
        "sex is 'f'",
        OTHER_DIGEST,
        "bureau",
        RECEIVER.key,
    ):
        assert piece in text
    for changed in (
        replace(EXITS, receivers=(replace(RECEIVER, key="x"),)),
        replace(EXITS, matches=(replace(EXITS.matches[0], per_contract=7),)),
        replace(EXITS, matches=(replace(EXITS.matches[0], per_target=7),)),
        replace(EXITS, deliveries=(replace(EXITS.deliveries[0], times=7),)),
    ):
        assert words.in_words(replace(CONTRACT, exits=changed)) != text


def test_the_plain_words_say_who_could_guess_whom_a_match_is_about():
    table = CONTRACT.tables[0]
    contract = replace(CONTRACT, exits=EXITS, tables=(table,))
    alone = " and ".join(sorted((table.broker, table.provider)))
    assert f"{alone} each hold the keys of all tables" in words.in_words(contract)
    assert "TEST GUESSES" in words.in_words(contract)
    one_broker = replace(contract, tables=(table, replace(table, provider="another")))
    assert f"{table.broker} holds the keys of all tables and so can TEST GUESSES" in words.in_words(one_broker)
    two = replace(contract, tables=(table, replace(table, provider="another", broker="else")))
    assert "No single provider can tell which units were asked about" in words.in_words(two)
    assert "one provider, broker or host together with one analyst" in words.in_words(two)
    assert "TEST GUESSES" not in words.in_words(two)
    assert "TEST GUESSES" not in words.in_words(replace(contract, exits=replace(EXITS, matches=())))


def test_the_lint_says_that_a_receiver_needs_keys_hashed_like_those_of_the_tables():
    contract = replace(CONTRACT, exits=replace(EXITS, matches=()))
    hashed = replace(CARD, hashed=DIGEST)

    def said(card):
        found = lint.contract_findings(contract, {"clinic.visits": card})
        return [one for one in found if one.clause == "exits.deliveries.bureau" and "hashes" in one.text]

    assert said(CARD) == []
    (finding,) = said(hashed)
    assert finding.level == "warning" and "clinic.visits" in finding.text


def test_a_match_may_be_on_the_key_if_the_key_is_one_column():
    contract = replace(CONTRACT, exits=replace(EXITS, matches=(MatchTerms("clinic.visits", "patient", 1, 1),)))
    assert not lint.errors_of(lint.contract_findings(contract, {"clinic.visits": CARD}))
    two = replace(CARD, key=("patient", "age"))
    errors = lint.errors_of(lint.contract_findings(contract, {"clinic.visits": two}))
    assert [finding.code for finding in errors] == ["contract.exits"]


@pytest.mark.parametrize(
    ("exits", "code"),
    [
        (Exits(), "contract.exits"),
        (replace(EXITS, receivers=(replace(RECEIVER, key="AAAA"),)), "contract.exits"),
        (replace(EXITS, receivers=(replace(RECEIVER, key=base64.b64encode(bytes(32)).decode()),)), "contract.exits"),
        (replace(EXITS, receivers=(replace(RECEIVER, name="anyone*"),)), "contract.wildcard"),
        (replace(EXITS, receivers=(RECEIVER, RECEIVER)), "contract.duplicate"),
        (replace(EXITS, receivers=()), "contract.reference"),
        (replace(EXITS, deliveries=(DeliverTerms("*", "bureau", 1),)), "contract.digest"),
        (replace(EXITS, deliveries=(DeliverTerms(DIGEST, "bureau", 0),)), "contract.limit"),
        (replace(EXITS, deliveries=EXITS.deliveries * 2), "contract.duplicate"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "sex", 0, 1, "f"),)), "contract.limit"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "sex", 1, 0, "f"),)), "contract.limit"),
        (replace(EXITS, matches=(MatchTerms("clinic.none", "sex", 1, 1, "f"),)), "contract.reference"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "*", 1, 1, "f"),)), "contract.wildcard"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "age", 1, 1),)), "contract.exits"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "sex", 1, 1, "other"),)), "contract.exits"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "nothing", 1, 1),)), "contract.exits"),
        (replace(EXITS, matches=(MatchTerms("clinic.visits", "patient", 1, 1, "p"),)), "contract.exits"),
    ],
)
def test_exit_clauses_are_linted(exits, code):
    contract = replace(CONTRACT, exits=exits)
    errors = lint.errors_of(lint.contract_findings(contract, {"clinic.visits": CARD}))
    assert code in [finding.code for finding in errors]
    assert not lint.errors_of(lint.contract_findings(replace(CONTRACT, exits=EXITS), {"clinic.visits": CARD}))


def test_a_list_of_algorithms_is_in_the_digest_and_a_contract_without_one_keeps_its_own():
    assert b"algorithms" not in canonical.encode(CONTRACT)
    listed = replace(CONTRACT, algorithms=("PCA@1",))
    assert canonical.digest(listed) != canonical.digest(CONTRACT)
    assert msgspec.convert(msgspec.to_builtins(listed), Contract).listed == ("PCA@1",)
    assert CONTRACT.listed is None
    assert differences.difference(CONTRACT, listed) == ("algorithms: (none) -> PCA@1",)
    assert differences.difference(listed, replace(listed, algorithms=("LinearRegression@1",))) == (
        "algorithms[0]: PCA@1 -> LinearRegression@1",
    )


def test_the_words_say_which_algorithms_and_what_their_releases_allow_as_well():
    text = words.in_words(replace(CONTRACT, algorithms=("PCA@1",)))
    assert "Algorithms, and no others:\n  - PCA@1: principal components" in text
    assert "What LinearRegression@1 would compute from the same releases can be computed too." in text
    both = words.in_words(replace(CONTRACT, algorithms=("PCA@1", "LinearRegression@1")))
    assert "can be computed too" not in both
    assert "Algorithms" not in words.in_words(CONTRACT)
    assert algorithms.programs(("Scorecard@1", "Unknown@1")) == frozenset()
    assert algorithms.programs(("Scorecard@1", "PCA@1")) == {"gram"}


def test_the_words_name_the_models_that_aggregates_and_a_logistic_regression_are_enough_for():
    both = ("aggregate", "model")
    text = words.in_words(replace(CONTRACT, operations=both, algorithms=("LogisticRegression@1",)))
    assert "what LinearRegression@1 and PCA@1 would compute can be computed from it as well" in text
    every = "LinearRegression@1, PCA@1, GaussianNB@1 and CategoricalNB@1"
    assert f"What {every} would compute can be computed from aggregates" in text
    few = words.in_words(replace(CONTRACT, operations=both, algorithms=("LogisticRegression@1", "PCA@1")))
    assert "begins with a noisy Gram" not in few
    assert "What LinearRegression@1, GaussianNB@1 and CategoricalNB@1 would compute can be computed from agg" in few
    assert f"What {every} would compute can be computed from aggregates" in words.in_words(CONTRACT)
    models = words.in_words(replace(CONTRACT, operations=("model",), algorithms=("KMeans@1",)))
    for silent in (models, words.in_words(replace(CONTRACT, operations=both))):
        assert "as well" not in silent


@pytest.mark.parametrize(
    ("listed", "code", "level"),
    [
        ((), "contract.algorithms", "error"),
        (("PCA",), "contract.algorithms", "error"),
        (("PCA@2",), "contract.algorithms", "error"),
        (("*",), "contract.algorithms", "error"),
        (("PCA@1", "PCA@1"), "contract.duplicate", "error"),
        (("PCA@1",), "contract.algorithms", "warning"),
        (("CategoricalNB@1", "Scorecard@1"), None, ""),
    ],
)
def test_a_list_of_algorithms_is_linted(listed, code, level):
    """The contract allows aggregates only, so an algorithm of the operation *model* is listed in vain."""
    found = lint.contract_findings(replace(CONTRACT, algorithms=listed))
    assert [(one.code, one.level) for one in found if one.clause == "algorithms"][:1] == (
        [(code, level)] if code else []
    )
    allowed = replace(CONTRACT, operations=("aggregate", "model"), algorithms=("PCA@1",))
    assert not [one for one in lint.contract_findings(allowed) if one.clause == "algorithms"]


def test_every_algorithm_names_code_that_is_there_and_its_digest_follows_the_code(monkeypatch):
    labels = [found.label for found in algorithms.REGISTRY]
    assert len(set(labels)) == len(labels)
    for found in algorithms.REGISTRY:
        for source in found.sources:
            read = list(algorithms._read(source))
            assert read, f"{found.label}: {source}"
            assert all(path.endswith(".py") for path, _ in read)
        assert algorithms.code(found).startswith("sha256:")
    pca = algorithms.by_name("PCA")
    before, nb = algorithms.code(pca), algorithms.code(algorithms.by_name("CategoricalNB"))
    original = algorithms._read

    def changed(source):
        return [(path, data + b" " if path == "sandbox/learn/pca.py" else data) for path, data in original(source)]

    monkeypatch.setattr(algorithms, "_read", changed)
    algorithms.code.cache_clear()
    assert algorithms.code(pca) != before
    assert algorithms.code(algorithms.by_name("CategoricalNB")) == nb
    algorithms.code.cache_clear()


_PACKAGE = Path(algorithms.__file__).parents[1]
_CLASSES = {
    "AdditiveClassifier": "additive",
    "CategoricalNB": "categorical",
    "GaussianNB": "gaussian",
    "KMeans": "kmeans",
    "LinearRegression": "linear",
    "LogisticRegression": "logistic",
    "PCA": "pca",
    "Scorecard": "scorecard",
}
# What shows, exports, checks or prices a model does not decide what it is.
_BESIDE = {
    *(f"sandbox/learn/{name}.py" for name in (
        "__init__", "asking", "base", "card", "checks", "expected", "numbers", "onnx_graph", "score", "views", "words",
    )),
    *(f"vault/{name}.py" for name in ("__init__", "costs", "fit_costs")),
}  # fmt: skip


def _imported(start, folders):
    """Return the files a module consists of: it, and what it imports from these places, and so on."""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path in found or path in _BESIDE or not path.startswith(folders):
            continue
        found.add(path)
        for node in ast.walk(ast.parse((_PACKAGE / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cloister."):
                place = node.module.removeprefix("cloister.").replace(".", "/")
                names = [f"{place}/{alias.name}.py" for alias in node.names] + [f"{place}.py", f"{place}/__init__.py"]
                waiting += [name for name in names if (_PACKAGE / name).is_file()]
    return found


def test_a_digest_covers_all_the_code_that_makes_a_model():
    assert set(_CLASSES) == {found.name for found in algorithms.REGISTRY}
    learn = ("sandbox/learn/", "sandbox/gram.py", "sandbox/ridge.py")
    for found in algorithms.REGISTRY:
        covered = {path for source in found.sources for path, _ in algorithms._read(source)}
        wanted = _imported(f"sandbox/learn/{_CLASSES[found.name]}.py", learn)
        if found.program != "none":
            wanted |= _imported("vault/engine.py", ("plan/", "vault/")) | {"vault/noise.py", "vault/norms.py"}
        if found.operation == "model" and found.program != "gram":
            wanted |= _imported("vault/fit.py", ("plan/", "vault/"))
        if found.program == "gram":
            wanted.add("sandbox/learn/asking.py")
        assert not wanted - covered, f"{found.label}: {sorted(wanted - covered)}"
        assert len(wanted) > 5, found.label


def test_the_command_prints_the_registry():
    shown = CliRunner().invoke(cli.app, ["algorithms"])
    assert shown.exit_code == 0
    for found in algorithms.REGISTRY:
        for text in (found.label, found.makes, found.operation, algorithms.code(found)):
            assert text in shown.output
    listed = json.loads(CliRunner().invoke(cli.app, ["algorithms", "--json"]).output)
    assert [one["label"] for one in listed] == [found.label for found in algorithms.REGISTRY]
    assert set(listed[0]) >= {"name", "version", "operation", "outputs", "code"}
