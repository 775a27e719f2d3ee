"""An embedded world: some providers, their brokers, one contract, and this user as its analyst, on one laptop.

Everything is what a real party would do, with the same functions: providers seal their tables and sign cards and the
contract; the broker gets the data keys, the contract and a policy that admits exactly this install; the analyst signs
and decides to trust. Only the holders of the keys are one person, which is why all of it is demonstration grade.

    CLOISTER_HOME/demo/world/             providers/  capsules/  broker/  contract.json  enclave.json  world.json
    CLOISTER_HOME/demo/cases/NAME/world/  the same for a case, or brokers/ if there are several
    CLOISTER_HOME/trust/demo/             the analyst's decision; trust/case-NAME/ for a case
"""

from __future__ import annotations

import os
import secrets
import shutil
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloister.analyst.trust import TrustStore, make_entry
from cloister.attest.policy import policy_digest, write_policy
from cloister.contract import signing
from cloister.contract.card import Card
from cloister.contract.terms import Broker, Party
from cloister.demo import cards as demo_cards
from cloister.demo.generators import TABLES
from cloister.demo.scene import Scene, Tables, provider_of
from cloister.demo.world import World, load_world, world_folder
from cloister.enclave.measure import measure
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import MalformedError
from cloister.provider import contracts, files
from cloister.provider.home import BrokerHome
from cloister.provider.keys import create_identity
from cloister.provider.parents import CARD_FILE
from cloister.provider.seal import Sealed, seal
from cloister.wire import canonical

ENTRY = "demo"
ANALYST = "you"
EPSILON = "8"
DELTA = "0.000001"
DEFAULT_SHARE = "0.02"
OPERATIONS: tuple[Literal["aggregate", "model"], ...] = ("aggregate", "model")
VALID_DAYS = 365

DEMO = Scene("demo", "Cloister demonstration", demo_cards.CARDS, TABLES)


def build_world(
    home: Path,
    *,
    scene: Scene = DEMO,
    tables: Tables | None = None,
    now: datetime | None = None,
    epsilon: str | None = None,
) -> World:
    """Build a world under ``home``, or return the one that is there.

    It appears at once or not at all; callers that may run at the same time hold the pair's lock. A world built by other
    code than is installed now is kept as it is: its broker refuses the new code until ``reset``.

    Args:
        home: ``CLOISTER_HOME``.
        scene: What it consists of: the demo, or a case.
        tables: Other generators by table name (tests use smaller ones).
        now: The time of signing.
        epsilon: Another budget of every population.

    Raises:
        CloisterError: A table cannot be sealed, or a file cannot be used.
    """
    case = case_of(scene)
    root = world_folder(home, case)
    found = load_world(home, case)
    if found is not None:
        _trust(home, found, scene)
        return found
    shutil.rmtree(root, ignore_errors=True)
    work = root.with_name(f".{root.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True, mode=0o700)
    played = scene._replace(tables=tables or scene.tables, epsilon=epsilon or scene.epsilon)
    try:
        world = _build(home, work, root, played, now or datetime.now(UTC))
        work.rename(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _trust(home, world, scene)
    return world


def case_of(scene: Scene) -> str:
    """Return the name of a case, and "" for the demo."""
    return "" if scene.name == DEMO.name else scene.name


def entry_of(scene: Scene) -> str:
    """Return the name of a scene's entry in the trust store."""
    return f"case-{scene.name}" if case_of(scene) else ENTRY


def is_stale(home: Path, case: str = "") -> bool:
    """Whether there is a world that the code installed now cannot use: built by other code, or unreadable."""
    try:
        world = load_world(home, case)
    except MalformedError:
        return True
    return world is not None and world.env_digest != measure().digest


def reset(home: Path, *, scene: Scene = DEMO, **options: Any) -> World:
    """Throw a world away and build a new one: new keys, a new contract, full budgets.

    Nothing of the running pair may use it any more; receipts and the analyst's key are kept.
    """
    root = world_folder(home, case_of(scene))
    # What a killed build left behind goes as well.
    for folder in (root, *root.parent.glob(f".{root.name}.*.tmp")):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(TrustStore(home / "trust").folder / entry_of(scene), ignore_errors=True)
    return build_world(home, scene=scene, **options)


def _build(home: Path, work: Path, root: Path, scene: Scene, now: datetime) -> World:
    """Play every party in turn; paths written into files are those after the rename."""
    # 1. Providers: keys, and their tables sealed under their cards.
    providers = {name: create_identity(work / "providers" / f"{name}.key") for name in scene.providers}
    sealed: dict[str, Sealed] = {
        card.name: seal(card, scene.tables[card.name](), work / "capsules" / card.name, providers[provider_of(card)])
        for card in scene.cards
    }
    # 2. Brokers: keys and data keys, and a policy that admits this install's simulator and code only.
    env_digest = measure().digest
    simulator = SimulatorAttester.load(home).did
    policy = write_policy(
        "demo", tees=("simulator",), simulated=True, env_digests=(env_digest,), instances=(simulator,)
    )
    places = {name: f"brokers/{name}" if scene.brokers == "each" else "broker" for name in _keepers(scene)}
    brokers = {name: BrokerHome.create(work / place, policy) for name, place in places.items()}
    rules = resources.files("cloister.demo").joinpath("alerts.toml").read_bytes()
    for broker in brokers.values():
        files.write_private(broker.alert_rules_file, rules)
    for card, keeper in zip(scene.cards, _keepers(scene), strict=True):
        brokers[keeper].add_capsule(sealed[card.name])
    # 3. The contract, signed by every party.
    analyst = TrustStore(home / "trust").analyst_key()
    contract = contracts.draft(
        scene.name,
        scene.title,
        parties=(
            *(Party(name, key.did, "provider") for name, key in providers.items()),
            Party(ANALYST, analyst.did, "analyst"),
        ),
        # The pair tells the enclave the real address; nothing is trusted because of it.
        brokers=(Broker(name, broker.identity().did, "http://127.0.0.1:0") for name, broker in brokers.items()),
        offers=(
            _offer(card, keeper, sealed[card.name]) for card, keeper in zip(scene.cards, _keepers(scene), strict=True)
        ),
        policies=dict.fromkeys((*brokers, ANALYST), policy_digest(policy)),
        terms=contracts.Terms(
            not_before=_text(now - timedelta(minutes=5)),
            not_after=_text(now + timedelta(days=VALID_DAYS)),
            epsilon=scene.epsilon,
            delta=DELTA,
            default_share=DEFAULT_SHARE,
            releases=scene.releases,
            operations=OPERATIONS,
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
            exits=scene.exits,
            display_mark=scene.display_mark,
        ),
    )
    document = signing.sign_contract(contract, *providers.values(), analyst)
    for broker in brokers.values():
        broker.contracts.add(document, now=_text(now))
    _write(work / "contract.json", document)
    # 4. The enclave's configuration. The pair fills in addresses.
    capsules = {card.name: root / "capsules" / card.name for card in scene.cards}
    cards = tuple(folder / CARD_FILE for folder in capsules.values())
    served = {
        "contract": str(root / "contract.json"),
        "cards": [str(card) for card in cards],
        "capsules": {sealed[name].manifest_digest: str(folder) for name, folder in capsules.items()},
    }
    # The demo is simulated on every machine, also on one that has a TEE.
    _write(work / "enclave.json", {"contracts": [served], "attester": "simulator"})
    world = World(
        root=root,
        brokers={broker.identity().did: root / places[name] for name, broker in brokers.items()},
        provider_dids={name: key.did for name, key in providers.items()},
        analyst_did=analyst.did,
        contract=root / "contract.json",
        contract_digest=signing.contract_digest(document),
        cards=cards,
        capsules=capsules,
        enclave_config=root / "enclave.json",
        env_digest=env_digest,
        policy_digest=policy_digest(policy),
        effect=scene.effect,
    )
    _write(work / "world.json", msgspec.to_builtins(world, enc_hook=str))
    return world


def _offer(card: Card, keeper: str, sealed: Sealed) -> contracts.Offer:
    return contracts.Offer(provider_of(card), keeper, card, sealed.card_digest, sealed.manifest_digest)


def _keepers(scene: Scene) -> tuple[str, ...]:
    """Return the name of the broker of each card, in their order."""
    each = scene.brokers == "each"
    return tuple(f"{provider_of(card)}_broker" if each else f"{scene.name}_broker" for card in scene.cards)


def _trust(home: Path, world: World, scene: Scene) -> None:
    """Write the analyst's decision, unless there is one for this contract: an own policy is left alone."""
    store, entry = TrustStore(home / "trust"), entry_of(scene)
    if entry in store.names() and store.load(entry).contract_digest == world.contract_digest:
        return
    policy = (world.broker_home / "policy.toml").read_text("utf-8")
    contract, endpoint = world.contract_envelope(), f"demo:{case_of(scene)}"
    store.save(make_entry(entry, endpoint=endpoint, contract=contract, policy=policy, accept_simulated=True))


def _write(path: Path, value: Any) -> None:
    path.write_bytes(canonical.encode(value))
    path.chmod(0o600)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
