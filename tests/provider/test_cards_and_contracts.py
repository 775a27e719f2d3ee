"""What the provider's commands stand on: suggested cards, drafts, keys on disk, the registry of contracts."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest
from provider_world import CARD, POPULATION, START, data

from cloister.contract import lint, signing
from cloister.contract.capsule_keys import data_key_info
from cloister.contract.states import Decision
from cloister.contract.terms import Broker, Limits, Party
from cloister.errors import ContractError, MalformedError, TrustError, UnavailableError
from cloister.provider import cards, clock, column_kinds, contracts, files, keys
from cloister.provider.data_keys import DataKey, DataKeys, Gone, KeyedTable
from cloister.provider.registry import Registry
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

# Cards -----------------------------------------------------------------------------------------------

FRAME = pd.DataFrame(
    {
        "patient_id": list("abcdefghijkl"),
        "age": [31, 47, 88] * 4,
        "income": [10.5, 7777.25, 31.0] * 4,
        "sex": ["f", "m", "f"] * 4,
        "diagnosis": ["canary-one", "canary-two", "canary-one"] * 4,
        "ward": ["east", "west"] * 5 + ["east", "canary-rare"],
        "seen": pd.to_datetime(["2023-05-06"] * 12),
        "alive": [True, False, True] * 4,
    }
)


def test_a_suggestion_tells_nothing_of_the_values():
    one = cards.suggest(FRAME, "clinic.visits")
    other = FRAME.iloc[::-1].assign(age=[1, 2, 3] * 4, income=[0.0, 1.0, 2.0] * 4, diagnosis=["x", "y", "z"] * 4)
    assert one == cards.suggest(other, "clinic.visits")
    assert "canary" not in repr(one)
    assert "7777" not in repr(one)
    assert one.reveals == ()
    assert (one.card.key, one.card.unit) == (("patient_id",), "person")
    assert {column.name: column.type for column in one.card.columns} == {
        "patient_id": "string", "age": "int", "income": "decimal", "sex": "string", "diagnosis": "string",
        "ward": "string", "seen": "date", "alive": "bool",
    }  # fmt: skip
    assert (one.card.column("age").low, one.card.column("age").high) == ("0", "110")
    assert one.card.column("income").low is None
    assert any(point.startswith("income") for point in one.open_points)


def test_looking_at_values_says_what_it_reveals():
    one = cards.suggest(FRAME, "clinic.visits", look_at_values=True)
    # Rounded outwards; rare categories stay out; health does not look public, so nobody's diagnosis is listed.
    assert (one.card.column("income").low, one.card.column("income").high) == ("0", "8000")
    assert one.card.column("ward").domain == ("east", "west")
    assert one.card.column("diagnosis").domain is None
    assert "canary" not in repr(one)
    assert len(one.reveals) == 2
    assert "DISCLOSURE" in one.card.column("ward").description
    assert "DISCLOSURE" not in one.card.column("age").description
    named = cards.suggest(FRAME, "clinic.visits", look_at=["diagnosis"])
    assert named.card.column("diagnosis").domain == ("canary-one",)
    assert len(named.reveals) == 1
    assert named.card.column("ward").domain is None
    assert "patient" not in " ".join(one.reveals)


def test_a_suggestion_lints_when_its_gaps_are_filled_and_not_before():
    one = cards.suggest(FRAME, "clinic.visits", look_at_values=True, look_at=["diagnosis"]).card
    assert {finding.code for finding in lint.errors_of(lint.card_findings(one))} == {"card.todo"}
    marked = {finding.clause for finding in lint.errors_of(lint.card_findings(one))}
    assert marked == {f"columns.{column.name}.description" for column in one.columns} | {
        "retention", "purposes", "source"
    }  # fmt: skip
    columns = tuple(msgspec.structs.replace(column, description=column.name) for column in one.columns)
    filled = msgspec.structs.replace(one, columns=columns, retention="1 year", purposes=("care",), source="register")
    assert lint.errors_of(lint.card_findings(filled)) == ()
    bare = cards.suggest(FRAME, "clinic.visits").card
    assert {"card.bounds", "card.domain"} < {finding.code for finding in lint.card_findings(bare)}


def test_a_table_without_identifier():
    one = cards.suggest(FRAME.drop(columns="patient_id"), "clinic.visits")
    assert one.card.key == ()
    assert any(point.startswith("key") for point in one.open_points)


@pytest.mark.parametrize(
    ("name", "kind", "tier"),
    [
        ("cardPin", "authentication secret", 5), ("密码", "authentication secret", 5),
        ("id_card_no", "identity number", 4), ("身份证号码", "identity number", 4), ("SSN", "identity number", 4),
        ("bank-account", "account or card number", 4), ("银行卡号", "account or card number", 4),
        ("mobile", "phone number", 4), ("手机号", "phone number", 4), ("e_mail", "electronic address", 4),
        ("lastName", "name of a person", 4), ("姓名", "name of a person", 4),
        ("Home Address", "postal address or place", 4), ("住址", "postal address or place", 4),
        ("diagnosis_1", "health", 3), ("既往病史", "health", 3), ("salary", "money of a person", 3),
        ("dob", "date of birth", 3), ("zip", "postcode", 3), ("age", "person's attribute", 2),
        ("product_type", "category of things", 2), ("product_name", "category of things", 2),
        ("opinion", None, 0), ("pinned", None, 0), ("hotel", None, 0),
    ],
)  # fmt: skip
def test_kinds_by_name(name, kind, tier):
    found = column_kinds.by_name(name)
    assert (found.name, found.tier) == (kind, tier) if kind else found is None


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["11010519491231002X", "440524188001010014"], "identity number"),  # examples of GB 11643
        (["219-09-9999", "078-05-1120"], "identity number"),
        (["4111 1111 1111 1111", "5500005555555559"], "account or card number"),  # the schemes' test numbers
        (["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"], "account or card number"),
        (["13800138000", "+49 30 901820"], "phone number"),
        (["a.b@example.org", "192.0.2.7"], "electronic address"),
        (["11010519491231002Y", "4111 1111 1111 1112", "20240131", "1000"], None),
        (["1380013800", "12800138000"], None),
        ([], None),
        (["", " "], None),
    ],
)
def test_kinds_by_look(texts, kind):
    """Check digits count: a number of the right length is not yet a card's."""
    found = column_kinds.by_look(texts)
    assert (found.name if found else None) == kind or (kind is None and found is None)


def test_how_texts_look_raises_a_tier_and_never_lowers_it():
    phones = pd.DataFrame({"id": ["a", "b"], "x1": ["13800138000", "13900139000"], "password": ["13800138000"] * 2})
    one = cards.suggest(phones, "a.b").card
    assert (one.column("x1").tier, one.column("x1").personal) == (4, True)
    assert one.column("password").tier == 5
    assert "138" not in repr(one)
    # A column of numbers is looked at as well, and a key is not spared.
    numbers = pd.DataFrame({"customer_no": [13800138000, 13900139000]})
    assert cards.suggest(numbers, "a.b").card.column("customer_no").tier == 4


# Drafts ----------------------------------------------------------------------------------------------


def draft(world, **changes):
    arguments = {
        "parties": (Party("clinic", world.provider.did, "provider"), Party("ana", world.analyst.did, "analyst")),
        "brokers": (Broker("clinic-broker", world.broker_key.did, "http://127.0.0.1:1"),),
        "offers": (
            contracts.Offer("clinic", "clinic-broker", CARD, world.sealed.card_digest, world.sealed.manifest_digest),
        ),
        "policies": dict(world.contract.policies),
        "terms": contracts.Terms(
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
        ),
    } | changes
    return contracts.draft("clinic-2026", "A draft", **arguments)


def test_a_draft_follows_from_the_capsules(world):
    contract = draft(world)
    assert contract.purposes == ("research",)
    assert [(budget.population, budget.epsilon) for budget in contract.budgets] == [(POPULATION, "8")]
    assert [limit.share for limit in contract.analyst_limits] == ["1"]
    document = contracts.sign(contracts.sign(contract, world.provider), world.analyst)
    assert signing.open_contract(document, now=clock.text(START)) == contract
    assert world.home.contracts.add(document, now=clock.text(START)) == signing.contract_digest(contract)


def test_a_draft_limits_what_the_declared_sizes_suggest(world):
    """Every release may scan the largest table; what is stated is taken as it is, and 0 is a limit."""
    rows = CARD.row_limit
    assert draft(world).limits == Limits(1000, 1000 * rows, 1000 * 20, 0)
    large = [msgspec.structs.replace(CARD, row_limit=size) for size in (1024, 10_000_000)]
    assert contracts.default_limits(50, large, ("aggregate", "model")) == Limits(50, 50 * 10**7, 50 * 110, 5)
    huge = contracts.default_limits(2**40, large, ("aggregate",))
    assert max(msgspec.structs.astuple(huge)) == 2**53
    assert contracts.default_limits(10, [], ("aggregate",)).rows == 0
    terms = msgspec.structs.replace(
        contracts.Terms("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", operations=("aggregate", "model")),
        placement="colocated", tenancy="shared", accept_simulated=True, releases=7, rows=0, models=2,
    )  # fmt: skip
    assert draft(world, terms=terms).limits == Limits(7, 0, 140, 2)


def test_a_draft_lists_the_algorithms_its_terms_list(world):
    terms = msgspec.convert(
        {
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z", "placement": "colocated",
            "tenancy": "shared", "accept_simulated": True, "operations": ["aggregate", "model"],
            "algorithms": ["PCA@1"],
        },
        contracts.Terms,
    )  # fmt: skip
    assert draft(world, terms=terms).listed == ("PCA@1",)
    assert draft(world).listed is None
    with pytest.raises(ContractError) as caught:
        draft(world, terms=msgspec.structs.replace(terms, algorithms=("PCA@9",)))
    assert (caught.value.code, caught.value.clause) == ("contract.algorithms", "algorithms")
    assert "cloister algorithms" in caught.value.next_step


def test_a_draft_shares_the_budget_between_analysts(world):
    people = [Party(name, SigningKey.generate().did, "analyst") for name in ("ana", "bob", "cem")]
    contract = draft(world, parties=(Party("clinic", world.provider.did, "provider"), *people))
    assert [limit.share for limit in contract.analyst_limits] == ["1/3"] * 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parties": ()}, "contract.parties"),
        ({"offers": ()}, "contract.reference"),
        ({"brokers": ()}, "contract.reference"),
        ({"purposes": ("marketing",)}, "contract.purposes"),
        ({"terms": contracts.Terms("2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z")}, "contract.validity"),
    ],
)
def test_nobody_drafts_nonsense(world, change, code):
    with pytest.raises(ContractError) as caught:
        draft(world, **change)
    assert caught.value.code == code
    assert caught.value.next_step


def test_nobody_signs_what_does_not_lint_or_is_not_his(world):
    contract = draft(world)
    with pytest.raises(ContractError, match=r"contract\.signer"):
        contracts.sign(contract, SigningKey.generate())
    with pytest.raises(ContractError, match=r"contract\.wildcard"):
        contracts.sign(msgspec.structs.replace(contract, purposes=("*",)), world.provider)
    with pytest.raises(ContractError, match=r"contract\.budget"):
        contracts.sign(contract, world.provider, {CARD.name: msgspec.structs.replace(CARD, population="others")})


def test_reading_files(world):
    assert contracts.read(canonical.encode(world.document)) == world.document
    for junk in (b"", b"{}", b"\xff", b"[" * 100_000):
        with pytest.raises(MalformedError):
            contracts.read(junk)


# Keys ------------------------------------------------------------------------------------------------


def test_keys_are_private_files(tmp_path):
    path = tmp_path / "sub" / "broker.key"
    key = keys.create_identity(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert keys.create_identity(path).did == key.did == keys.load_identity(path).did
    path.chmod(0o644)
    with pytest.raises(TrustError, match=r"file\.permissions"):
        keys.load_identity(path)
    with pytest.raises(UnavailableError, match=r"keys\.missing"):
        keys.load_identity(tmp_path / "none.key")
    files.write_private(path, b"not a key")
    with pytest.raises(MalformedError):
        keys.load_identity(path)


def test_data_keys(tmp_path):
    store = DataKeys(tmp_path / "keys")
    digest = "sha256:" + "a" * 64
    key = DataKey(digest, "A" * 43 + "=", (KeyedTable(CARD, digest, (("patient",),)),))
    assert store.get(digest) is None
    store.put(key)
    assert store.get(digest) == key
    path = next((tmp_path / "keys").iterdir())
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(path.with_name("b" * 64 + ".key"))
    with pytest.raises(MalformedError):  # the key of one capsule under the name of another
        store.get("sha256:" + "b" * 64)
    store.put(key)
    assert store.wipe(digest, Gone("2026-01-01T00:00:00Z", "request"))
    assert not store.wipe(digest, Gone("2026-01-01T00:00:00Z", "request"))
    assert store.get(digest) is None
    for name in ("../../etc/passwd", "sha256:" + "A" * 64, ""):
        with pytest.raises(MalformedError):
            store.get(name)


@pytest.mark.parametrize("public", ["", "AAAA", "A" * 43 + "=", "not base64"])
def test_a_key_is_sealed_to_a_usable_key_only(public):
    info = data_key_info(contract="c", manifest="m", broker="b", vault_id="v", binding=b"", epoch=1)
    with pytest.raises(MalformedError):
        keys.seal_to_vault(bytes(32), public, info)


def test_no_half_written_file(tmp_path, monkeypatch):
    path = tmp_path / "policy.toml"
    files.write_private(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_private(path, b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("policy.toml", b"old")]


# The registry ----------------------------------------------------------------------------------------


def test_only_complete_contracts_are_registered(world, tmp_path):
    registry = Registry(tmp_path / "contracts")
    now = clock.text(START)
    unsigned = signing.sign_contract(world.contract, world.provider)
    for document, time in ((unsigned, now), (world.document, "2028-01-01T00:00:00Z")):
        with pytest.raises(ContractError):
            registry.add(document, now=time)
    assert registry.get(world.digest) is None
    early = registry.add(world.document, now="2025-01-01T00:00:00Z")
    assert registry.get(early).state("2025-06-01T00:00:00Z") == "signed"
    assert registry.get(early).state(now) == "active"
    assert registry.digests() == (world.digest,)


def test_registering_without_activating(world, tmp_path):
    registry = Registry(tmp_path / "contracts")
    digest = registry.add(world.document, now=clock.text(START), activate=False)
    assert registry.get(digest).state(clock.text(START)) == "signed"


def test_a_revoked_contract_cannot_be_registered_back(world):
    registry = world.home.contracts
    registry.decide(world.digest, Decision("revoked", clock.text(START)))
    with pytest.raises(ContractError, match=r"contract\.state"):
        registry.add(world.document, now=clock.text(START))
    assert registry.get(world.digest).state(clock.text(START)) == "revoked"


def test_decisions_about_unknown_contracts(world):
    with pytest.raises(ContractError, match=r"contract\.unknown"):
        world.home.contracts.decide("sha256:" + "0" * 64, Decision("revoked", clock.text(START)))
    for name in ("", "../x", "sha256:xyz"):
        assert world.home.contracts.get(name) is None


def test_a_contract_under_the_name_of_another_is_unknown(world):
    path = next(world.home.contracts._directory.glob("*.json"))
    other = "0" * 64
    path.with_name(f"{other}.json").write_bytes(path.read_bytes())
    assert world.home.contracts.get(f"sha256:{other}") is None
    assert world.home.contracts.get(world.digest) is not None


def test_a_damaged_decision_is_no_permission(world):
    path = next(world.home.contracts._directory.glob("*.state"))
    path.write_text("{")
    assert world.home.contracts.get(world.digest) is None
    path.write_text('{"state":"always","time":"2026-06-01T00:00:00Z"}')
    assert world.home.contracts.get(world.digest) is None


def test_a_broker_takes_up_only_what_it_can_serve(world, make_world):
    now = clock.text(START)
    other = make_world()
    with pytest.raises(ContractError, match=r"contract\.broker"):
        other.home.add_contract(world.document, now=now)
    for change, code in (
        ({"policies": {}}, "contract.policy"),
        ({"policies": {"clinic": "sha256:" + "0" * 64}}, "contract.policy"),
    ):
        changed = msgspec.structs.replace(world.contract, **change)
        with pytest.raises(ContractError) as caught:
            world.home.add_contract(signing.sign_contract(changed, world.provider, world.analyst), now=now)
        assert caught.value.code == code
    assert world.home.add_contract(world.document, now=now) == world.digest
    world.home.data_keys.wipe(world.sealed.manifest_digest, Gone(now, "request"))
    with pytest.raises(ContractError, match=r"capsule\.shredded"):
        world.home.add_contract(world.document, now=now)


def test_the_test_data_follow_the_card():
    assert list(data().columns) == [column.name for column in CARD.columns]
