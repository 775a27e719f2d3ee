"""The demo world: complete, signed by everybody, appearing at once, and admitting exactly this install."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from cloister.analyst.trust import TrustStore, check_analyst
from cloister.contract import lint, signing
from cloister.contract.capsule import open_manifest
from cloister.demo import cards, generators, parties
from cloister.enclave.config import load_config, load_contract
from cloister.enclave.measure import measure
from cloister.errors import CloisterError, MalformedError
from cloister.provider import alerting
from cloister.provider.home import BrokerHome
from cloister.receipt import chain
from cloister.wire import documents
from cloister.wire.envelope import Envelope

SMALL = {
    "st_anna.visits": lambda: generators.visits(40),
    "st_anna.diabetes": generators.diabetes,
    "survey.fair": generators.fair,
    "city_bank.customers": lambda: generators.customers(50),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def world(home: Path) -> parties.World:
    return parties.build_world(home, tables=SMALL)


def test_no_hour_is_unusual_for_a_demonstration(world: parties.World) -> None:
    pack = alerting.read_rules(BrokerHome(world.broker_home))
    watched = {measure.what for rule in pack.rule for measure in rule.measure}
    assert pack.name == "demo"
    assert "refusal.count" in watched
    assert "charge.hours" not in watched


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_cards_lint_without_a_word() -> None:
    for card in cards.CARDS:
        assert lint.card_findings(card) == (), card.name


def test_the_contract_is_what_the_tour_promises(world: parties.World) -> None:
    contract = signing.open_contract(world.contract_envelope(), now=now())
    opened = chain.open_cards(world.card_envelopes(), contract)
    findings = lint.contract_findings(contract, opened)
    assert {(finding.level, finding.code) for finding in findings} == {("warning", "contract.simulated")}
    assert sorted(opened) == sorted(generators.TABLES)
    assert {(b.epsilon, b.delta, b.default_share) for b in contract.budgets} == {("8", "0.000001", "0.02")}
    assert len(contract.budgets) == len({card.population for card in cards.CARDS}) == 4
    assert (contract.accept_simulated, contract.placement) == (True, "colocated")
    assert world.contract_digest == signing.contract_digest(world.contract_envelope())


def test_every_capsule_is_sealed_by_its_provider_and_its_key_is_at_the_broker(world: parties.World) -> None:
    contract = signing.open_contract(world.contract_envelope(), now=now())
    broker = BrokerHome(world.broker_home)
    for terms in contract.tables:
        text = (world.capsules[terms.name] / "manifest.json").read_bytes()
        document = documents.decode(text, Envelope)
        open_manifest(document, world.provider_dids[terms.provider], pinned=terms.manifest)
        key = broker.data_keys.get(terms.manifest)
        assert key is not None
        assert [(one.card.name, one.card.grade) for one in key.tables] == [(terms.name, "demonstration")]
        assert key.raw() not in b"".join(path.read_bytes() for path in world.capsules[terms.name].iterdir())
    registered = broker.contracts.get(world.contract_digest)
    assert registered is not None
    assert registered.state(now()) == "active"


def test_the_policy_admits_this_install_and_the_contract_pins_it(world: parties.World) -> None:
    policy, digest = BrokerHome(world.broker_home).policy()
    contract = signing.open_contract(world.contract_envelope(), now=now())
    assert set(contract.policies.values()) == {digest} == {world.policy_digest}
    assert policy.reference.env_digest == (world.env_digest,) == (measure().digest,)
    assert policy.accept.tees == ("simulator",)
    assert len(policy.instance.allow) == 1


def test_the_analyst_is_this_user(world: parties.World, home: Path) -> None:
    store = TrustStore(home / "trust")
    entry = store.load(parties.ENTRY)
    key = store.analyst_key()
    assert key.did == world.analyst_did
    check_analyst(entry.terms(now=now()), key.did, entry.policy_digest)
    assert (entry.endpoint, entry.accept_simulated, entry.purpose) == ("demo:", True, cards.PURPOSE)


def test_the_enclave_can_read_its_configuration(world: parties.World) -> None:
    config = load_config(world.enclave_config)
    served = load_contract(config.contracts[0], world.enclave_config.parent, {})
    assert served.digest == world.contract_digest
    assert len(served.cards) == len(served.capsules) == 4
    assert all(Path(folder).is_dir() for folder in served.capsules.values())


def test_secrets_are_private(world: parties.World, home: Path) -> None:
    secret = [path for path in home.rglob("*") if path.suffix in (".key", ".sqlite")]
    assert len(secret) >= 3 + 1 + 4 + 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert stat.S_IMODE(world.root.stat().st_mode) == 0o700


def test_building_again_changes_nothing(world: parties.World, home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    assert parties.build_world(home, tables=SMALL) == world
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_the_analysts_own_decision_is_left_alone(world: parties.World, home: Path) -> None:
    store = TrustStore(home / "trust")
    policy = store.folder / parties.ENTRY / "policy.toml"
    text = policy.read_text()
    policy.write_text(text + "# mine\n")
    parties.build_world(home, tables=SMALL)
    assert policy.read_text().endswith("# mine\n")
    policy.write_text(text)


def test_a_half_built_world_never_appears(tmp_path: Path) -> None:
    def broken() -> pd.DataFrame:
        raise CloisterError("test.broken", "a generator fails half-way")

    with pytest.raises(CloisterError):
        parties.build_world(tmp_path, tables={**SMALL, "survey.fair": broken})
    assert list((tmp_path / "demo").iterdir()) == []
    assert parties.load_world(tmp_path) is None


def test_reset_gives_new_keys_and_full_budgets_to_the_same_person(tmp_path: Path) -> None:
    first = parties.build_world(tmp_path, tables=SMALL)
    (first.broker_home / "accounts.sqlite").write_bytes(b"spent")
    (first.root.parent / ".world.1.dead.tmp" / "providers").mkdir(parents=True)
    second = parties.reset(tmp_path, tables=SMALL)
    assert [path.name for path in second.root.parent.iterdir()] == ["world"]
    assert second.contract_digest != first.contract_digest
    assert second.analyst_did == first.analyst_did
    assert not (second.broker_home / "accounts.sqlite").exists()
    assert TrustStore(tmp_path / "trust").load(parties.ENTRY).contract_digest == second.contract_digest


def test_a_world_of_other_code_is_stale_and_one_of_this_code_is_not(tmp_path: Path) -> None:
    assert not parties.is_stale(tmp_path)
    world = parties.build_world(tmp_path, tables=SMALL)
    assert not parties.is_stale(tmp_path)
    description = world.root / "world.json"
    description.write_text(description.read_text().replace(world.env_digest, "sha384:" + "0" * 96))
    assert parties.is_stale(tmp_path)
    description.write_text("{")
    assert parties.is_stale(tmp_path)


def test_a_damaged_world_says_so(tmp_path: Path) -> None:
    folder = parties.world_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "world.json").write_text("{}")
    with pytest.raises(MalformedError) as caught:
        parties.build_world(tmp_path, tables=SMALL)
    assert caught.value.next_step == "cloister demo reset"
