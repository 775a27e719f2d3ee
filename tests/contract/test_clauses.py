"""The optional clauses: absent they change nothing; present they are linted, said in two languages and exported."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest
from clause_samples import (
    ACCESS,
    ANALYST,
    BROKER,
    CARD,
    CARLA,
    CONTRACT,
    DAN,
    LABELLED,
    PROVIDER,
    STRANGER,
    WHOLE,
)

from cloister.contract import amendments, differences, gallery, lint, odrl, packs, signing, words
from cloister.contract.card import Column, Labels
from cloister.contract.clauses import Access, Approver, Obligation, PackTerms, RowLimit, Software, Tariff
from cloister.contract.exits import DeliverTerms, MatchTerms
from cloister.contract.terms import Budget, Contract, Party
from cloister.errors import CloisterError, ContractError
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

replace = msgspec.structs.replace
CARDS = {"clinic.visits": LABELLED}
CLAUSES = ("access", "approvers", "pack", "obligations", "tariffs", "amends", "hosts", "software", "display_mark")


def codes(contract: Contract, cards=None, level: str = "error") -> set[str]:
    return {finding.code for finding in lint.contract_findings(contract, cards) if finding.level == level}


# Old contracts --------------------------------------------------------------------------------------


def test_a_contract_without_the_clauses_is_written_as_before():
    written = canonical.encode(CONTRACT).decode()
    assert not [name for name in CLAUSES if f'"{name}"' in written]
    assert b'"labels"' not in canonical.encode(CARD)
    fixed = replace(
        CONTRACT,
        parties=(Party("clinic", "did:key:zA", "provider"), Party("ana", "did:key:zB", "analyst")),
        brokers=(replace(CONTRACT.brokers[0], did="did:key:zC"),),
    )
    # The digest that the version before these clauses gave: what was signed then still verifies.
    assert canonical.digest(fixed) == "sha256:5e171965c047273760ad029f3ea4e3b8cb4d9da8b585f75b5c944cc2505ca512"


def test_a_contract_without_the_clauses_says_what_it_said_before():
    said = words.in_words(CONTRACT)
    for sign in ("approv", "tier", "takes the place", "costs, in", "destroy", "may use what is listed"):
        assert sign not in said


# Lint -----------------------------------------------------------------------------------------------


def test_the_whole_contract_lints():
    assert codes(WHOLE, CARDS) == set()
    signed = signing.sign_contract(WHOLE, PROVIDER, ANALYST)
    assert signing.open_contract(signed, now="2026-06-01T00:00:00Z") == WHOLE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"access": ()}, "contract.access"),
        ({"approvers": ()}, "contract.approvers"),
        ({"obligations": ()}, "contract.obligations"),
        ({"tariffs": ()}, "contract.tariffs"),
        ({"access": (replace(ACCESS, analyst="zoe"),)}, "contract.reference"),
        ({"access": (replace(ACCESS, table="clinic.other"),)}, "contract.reference"),
        ({"access": (ACCESS, ACCESS)}, "contract.duplicate"),
        ({"access": (replace(ACCESS, columns=("*", "age", "sex", "day")),)}, "contract.wildcard"),
        ({"access": (replace(ACCESS, columns=("age",)),)}, "contract.rows"),
        ({"access": (replace(ACCESS, columns=("age", "sex", "day", "nothing")),)}, "contract.reference"),
        ({"access": (replace(ACCESS, purposes=("marketing",)),)}, "contract.purposes"),
        ({"access": (replace(ACCESS, not_before="2026-04-01T00:00:00Z"),)}, "contract.validity"),
        ({"access": (replace(ACCESS, not_after="tomorrow"),)}, "contract.validity"),
        ({"access": (replace(ACCESS, rows=(RowLimit("age"),)),)}, "contract.rows"),
        ({"access": (replace(ACCESS, rows=(RowLimit("age", ("18",), "18"),)),)}, "contract.rows"),
        ({"access": (replace(ACCESS, rows=(RowLimit("age", low="young"),)),)}, "contract.rows"),
        ({"access": (replace(ACCESS, rows=(RowLimit("sex", ("x",)),)),)}, "contract.rows"),
        ({"approvers": (Approver("ana", ANALYST.did, "clinic"),)}, "contract.self-granted"),
        ({"approvers": (Approver("box", BROKER.did, "clinic"),)}, "contract.self-granted"),
        (
            {"approvers": (Approver("a", CARLA.did, "clinic"), Approver("b", CARLA.did, "clinic"))},
            "contract.self-granted",
        ),
        ({"approvers": (Approver("a", CARLA.did, "clinic"), Approver("a", DAN.did, "clinic"))}, "contract.duplicate"),
        ({"approvers": (Approver("a", CARLA.did, "bank"),)}, "contract.reference"),
        ({"approvers": (Approver("everyone", CARLA.did, "clinic"),)}, "contract.wildcard"),
        ({"approvers": (Approver("a", "did:key:zzz", "clinic"),)}, "contract.did"),
        ({"approvers": msgspec.UNSET}, "contract.obligations"),
        ({"pack": PackTerms("my-own", "sha256:" + "1" * 64)}, "pack.unknown"),
        ({"pack": PackTerms("beijing-4", "sha256:" + "1" * 64)}, "pack.digest"),
        ({"pack": PackTerms("beijing-4", packs.load("beijing-4").digest)}, "pack.scheme"),
        ({"obligations": (Obligation("export", "destroy-keys"),)}, "contract.obligations"),
        ({"obligations": (Obligation("expiry", "approval"),)}, "contract.obligations"),
        ({"obligations": (Obligation("expiry", "destroy-keys"),) * 2}, "contract.duplicate"),
        ({"tariffs": (Tariff("other", "CNY"),)}, "contract.reference"),
        ({"tariffs": (Tariff("clinic-broker", "yuan"),)}, "contract.tariff"),
        ({"tariffs": (Tariff("clinic-broker", "CNY", "-1"),)}, "contract.tariff"),
        ({"tariffs": (Tariff("clinic-broker", "CNY", "much"),)}, "contract.tariff"),
        ({"tariffs": (Tariff("clinic-broker", "CNY"),) * 2}, "contract.duplicate"),
        ({"amends": "the last one"}, "contract.digest"),
        ({"hosts": ()}, "contract.hosts"),
        ({"hosts": ("chip:*",)}, "contract.hosts"),
        ({"hosts": ("somewhere",)}, "contract.hosts"),
        ({"hosts": ("chip:01", "chip:01")}, "contract.duplicate"),
        ({"software": Software((), "1")}, "contract.software"),
        ({"software": Software((DAN.did,), "one")}, "contract.software"),
        ({"software": Software((DAN.did,), "01.2")}, "contract.software"),
        ({"software": Software((DAN.did,), "1", -1)}, "contract.software"),
        ({"software": Software((DAN.did,), "1", 367)}, "contract.software"),
        ({"software": Software((DAN.did, DAN.did), "1")}, "contract.duplicate"),
        ({"software": Software(("dan",), "1")}, "contract.did"),
        ({"software": Software((ANALYST.did,), "1")}, "contract.self-granted"),
    ],
)
def test_a_senseless_clause_is_refused(changes, code):
    contract = replace(WHOLE, **changes)
    assert code in codes(contract, CARDS)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        (CARD, "pack.importance"),
        (replace(CARD, labels=Labels(importance="core")), "pack.importance"),
        (replace(CARD, labels=Labels(importance="important")), "pack.assessment"),
        (replace(CARD, labels=Labels("beijing-4", "general")), "pack.scheme"),
        (replace(LABELLED, columns=(*CARD.columns, Column("note", "string", 2, "Text"))), "pack.free-text"),
    ],
)
def test_a_card_must_fit_its_pack(card, code):
    assert code in codes(WHOLE, {card.name: card})


def test_from_tier_3_a_contract_on_hardware_names_hosts_and_is_alone_on_them():
    secret = replace(CARD, grade="production")
    strict = replace(CONTRACT, accept_simulated=False, placement="split", tenancy="exclusive", hosts=("chip:01",))
    cards = {secret.name: secret}
    assert codes(strict, cards) == set()
    assert codes(replace(strict, hosts=msgspec.UNSET), cards) == {"contract.hosts"}
    assert codes(replace(strict, tenancy="shared"), cards) == {"contract.tier"}
    # Below tier 3, and for demonstration data, any host will do.
    open_ones = tuple(replace(column, tier=2) for column in secret.columns)
    assert codes(replace(strict, hosts=msgspec.UNSET), {secret.name: replace(secret, columns=open_ones)}) == set()
    assert codes(replace(CONTRACT, hosts=msgspec.UNSET), {CARD.name: CARD}) == set()


def test_important_data_with_an_assessment_and_text_of_the_highest_tier_are_fine():
    labels = Labels(importance="important", assessment="sha256:" + "3" * 64)
    card = replace(CARD, labels=labels, columns=(*CARD.columns, Column("note", "string", 3, "Text")))
    assert codes(WHOLE, {card.name: card}) == set()


def test_people_are_warned():
    assert "contract.source" in codes(WHOLE, CARDS, "warning")
    assert "contract.source" not in codes(replace(WHOLE, obligations=WHOLE.obligations[:1]), CARDS, "warning")
    nobody = replace(WHOLE, approvers=msgspec.UNSET, obligations=msgspec.UNSET)
    assert "contract.approvers" in codes(nobody, CARDS, "warning")
    alone = replace(WHOLE, approvers=WHOLE.approvers[:1])
    assert "contract.approvers" in codes(alone, CARDS, "warning")
    bob = replace(WHOLE, parties=(*WHOLE.parties, Party("bob", STRANGER.did, "analyst")))
    assert "contract.access" in codes(bob, CARDS, "warning")


# Words ----------------------------------------------------------------------------------------------

_FACTS = re.compile(
    r"sha256:[0-9a-f]+|did:key:\w+|\d{4}-\d\d-\d\dT[\d:]+Z|[A-Za-z][\w.-]*[._@-][\w.@-]*\w|\d[\d.,]*\d|\d"
)


@pytest.mark.parametrize("contract", [CONTRACT, WHOLE, replace(WHOLE, regime="screened", share_releases=True)])
def test_both_languages_state_the_same_facts_line_by_line(contract):
    english, chinese = words.in_words(contract).splitlines(), words.in_words(contract, "zh").splitlines()
    assert len(english) == len(chinese)
    for one, other in zip(english, chinese, strict=True):
        known = {"once": "1", "no model": "0"}
        numbers = [*(value for word, value in known.items() if word in one), *_facts(one)]
        spelt = {"1": "once", "0": "no "}
        missing = [fact for fact in _facts(other) if fact not in numbers and spelt.get(fact, "?") not in one]
        assert not missing, (one, other)
        assert not [fact for fact in _facts(one) if fact not in _facts(other) and _is_datum(fact)], (one, other)


def _facts(line: str) -> list[str]:
    return [found.rstrip(".,") for found in _FACTS.findall(line)]


def _is_datum(fact: str) -> bool:
    return fact[0].isdigit() or fact.startswith(("sha256:", "did:key:"))


def test_every_clause_is_said_in_both_languages():
    for language in ("en", "zh"):
        whole = words.in_words(WHOLE, language)
        for name in CLAUSES:
            lines = set(whole.splitlines()) - set(
                words.in_words(replace(WHOLE, **{name: msgspec.UNSET}), language).splitlines()
            )
            assert lines, name


def test_what_changes_is_said_in_sentences():
    after = replace(CONTRACT, share_releases=True, budgets=(replace(CONTRACT.budgets[0], epsilon="4"),))
    said = differences.changes(words.in_words(CONTRACT), words.in_words(after))
    assert [line[0] for line in said] == ["-", "+", "+"]
    assert "epsilon 8" in said[0]
    assert "epsilon 4" in said[1]
    assert differences.changes(words.in_words(CONTRACT, "zh"), words.in_words(CONTRACT, "zh")) == ()


# Signatures of many, amendments -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 5, 20])
def test_every_one_of_many_providers_must_sign(number):
    keys = [SigningKey.generate() for _ in range(number)]
    parties = [Party(f"clinic-{place}", key.did, "provider") for place, key in enumerate(keys)]
    contract = replace(
        CONTRACT,
        parties=(*parties, CONTRACT.parties[1]),
        tables=(replace(CONTRACT.tables[0], provider="clinic-0"),),
        policies={"clinic-broker": "sha256:" + "1" * 64},
    )
    whole = signing.sign_contract(contract, *keys, ANALYST)
    assert signing.open_contract(whole, now="2026-06-01T00:00:00Z") == contract
    for left_out in range(number):
        without = [key for place, key in enumerate(keys) if place != left_out]
        with pytest.raises(ContractError, match=r"contract\.unsigned") as caught:
            signing.open_contract(signing.sign_contract(contract, *without, ANALYST), now="2026-06-01T00:00:00Z")
        assert f"clinic-{left_out}" in caught.value.reason


def test_an_amendment_is_signed_by_every_provider_of_the_former():
    amendments.check(replace(WHOLE, title="other"), CONTRACT)
    more = replace(CONTRACT, parties=(*CONTRACT.parties, Party("bank", STRANGER.did, "provider")))
    with pytest.raises(ContractError, match=r"contract\.amends"):
        amendments.check(CONTRACT, more)


def test_an_amendment_warns_of_a_larger_budget_and_of_new_parties():
    larger = replace(
        CONTRACT,
        budgets=(replace(CONTRACT.budgets[0], epsilon="9"), Budget("others", "clinic-broker", "1", "0.000001", "0.1")),
        parties=(*CONTRACT.parties, Party("bob", STRANGER.did, "analyst")),
    )
    found = [(finding.code, finding.clause) for finding in amendments.findings(larger, CONTRACT)]
    assert ("amendment.budget", "budgets.clinic.patients") in found
    assert ("amendment.budget", "budgets.others") in found
    assert ("amendment.party", "parties") in found
    assert sum(code == "amendment.limit" for code, _ in found) == 4


def test_an_amendment_warns_that_what_exits_count_begins_anew():
    fresh = (MatchTerms("clinic.visits", "age", 5, 1), DeliverTerms("sha256:" + "8" * 64, "bureau", 1))
    more = replace(
        WHOLE.outside, matches=(*WHOLE.outside.matches, fresh[0]), deliveries=(*WHOLE.outside.deliveries, fresh[1])
    )
    before = replace(CONTRACT, exits=WHOLE.outside)
    found = amendments.findings(replace(CONTRACT, exits=more), before)
    assert {finding.clause for finding in found if finding.clause.startswith("exits")} == {
        "exits.matches of sex in clinic.visits: per_contract",
        "exits.matches of sex in clinic.visits: per_target",
        f"exits.deliveries of {WHOLE.outside.deliveries[0].plan}: times",
    }


# Export and templates -------------------------------------------------------------------------------


def test_the_export_is_an_odrl_agreement():
    found = odrl.agreement(WHOLE)
    assert found["@type"] == "Agreement"
    assert found["uid"].endswith(signing.contract_digest(WHOLE))
    for rule in (*found["permission"], *found["prohibition"]):
        # Information model 2.2: a rule of an agreement has an action, a target, an assigner and an assignee.
        assert {"action", "target", "assigner", "assignee"} <= set(rule)
        assert rule["assigner"] != rule["assignee"]
    limits = {(c["leftOperand"], c["operator"]): c["rightOperand"] for c in found["permission"][0]["constraint"]}
    assert limits["purpose", "isAnyOf"] == ["research"]
    assert limits["count", "lteq"] == WHOLE.limits.releases
    assert limits["dateTime", "gteq"] == ACCESS.not_before
    assert limits["dateTime", "lt"] == ACCESS.not_after
    assert limits["urn:cloister:term:column", "isAnyOf"] == ["age", "sex", "day"]
    assert limits["urn:cloister:term:row:sex", "isAnyOf"] == ["f"]
    assert {rule["constraint"][0]["rightOperand"] for rule in found["obligation"]} == {
        "urn:cloister:term:completion",
        "urn:cloister:term:expiry",
    }
    msgspec.json.encode(found)


def test_the_export_permits_nothing_to_who_is_granted_nothing():
    bob = replace(WHOLE, parties=(*WHOLE.parties, Party("bob", STRANGER.did, "analyst")), exits=msgspec.UNSET)
    assert STRANGER.did not in {rule["assignee"] for rule in odrl.agreement(bob)["permission"]}


def test_the_export_gives_matches_to_whom_the_vault_would():
    """A match reads the column, of every row, for the purposes and in the time that are granted."""
    whole = replace(ACCESS, rows=())
    for granted, count in (
        ((whole,), 1),
        ((ACCESS,), 0),
        ((replace(whole, columns=("age",)),), 0),
        ((), 0),
        (msgspec.UNSET, 2),
    ):
        parties = (*WHOLE.parties, Party("bob", STRANGER.did, "analyst"))
        agreed = odrl.agreement(replace(WHOLE, parties=parties, access=granted))
        matches = [rule for rule in agreed["permission"] if rule["action"] == "urn:cloister:term:match"]
        assert len(matches) == count, granted
    limits = _limits(odrl.agreement(replace(WHOLE, access=(whole,)))["permission"][-1])
    assert limits["count", "lteq"] == WHOLE.outside.matches[0].per_contract
    assert limits["purpose", "isAnyOf"] == ["research"]
    assert (limits["dateTime", "gteq"], limits["dateTime", "lt"]) == (ACCESS.not_before, ACCESS.not_after)


def _limits(rule):
    return {(one["leftOperand"], one["operator"]): one["rightOperand"] for one in rule["constraint"]}


def test_there_is_no_other_template():
    with pytest.raises(CloisterError, match=r"contract\.template"):
        gallery.template("../terms")


@pytest.mark.parametrize("kind", sorted(gallery.KINDS))
def test_a_template_is_a_specification_with_gaps(kind):
    spec = tomllib.loads(gallery.template(kind))
    assert {"name", "title", "party", "broker", "capsule", "terms", "policies"} <= set(spec)
    assert "<" in spec["party"][0]["did"]


def test_access_names_nobody_twice_and_wildcards_are_none():
    for text in ("*", "any", "", "all"):
        contract = replace(WHOLE, access=(Access("ana", "clinic.visits", (text,)),))
        assert "contract.wildcard" in codes(contract)
