"""The demo world: three providers, one broker, one contract, and this user as its analyst, on one laptop.

Everything is what a real party would do, with the same functions: providers seal their tables and sign cards and the
contract; the broker gets the data keys, the contract and a policy that admits exactly this install; the analyst signs
and decides to trust. Only the holders of the keys are one person, which is why all of it is demonstration grade.

    CLOISTER_HOME/demo/world/  providers/  capsules/  broker/  contract.json  enclave.json  world.json
    CLOISTER_HOME/trust/demo/  the analyst's decision
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pandas as pd

from cloister.analyst.trust import TrustStore, make_entry
from cloister.attest.policy import policy_digest, write_policy
from cloister.contract import signing
from cloister.contract.card import Card
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Party, TableTerms
from cloister.demo import cards as demo_cards
from cloister.demo.generators import TABLES
from cloister.demo.world import World, load_world, world_folder
from cloister.enclave.measure import measure
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import MalformedError
from cloister.provider.contracts import default_limits
from cloister.provider.home import BrokerHome
from cloister.provider.keys import create_identity
from cloister.provider.parents import CARD_FILE
from cloister.provider.seal import Sealed, seal
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

ENTRY = "demo"
BROKER = "demo_broker"
ANALYST = "you"
EPSILON = "8"
DELTA = "0.000001"
DEFAULT_SHARE = "0.02"
RELEASES = 10_000
OPERATIONS: tuple[Literal["aggregate", "model"], ...] = ("aggregate", "model")
VALID_DAYS = 365

Tables = dict[str, Callable[[], pd.DataFrame]]


def build_world(
    home: Path, *, tables: Tables | None = None, now: datetime | None = None, epsilon: str = EPSILON
) -> World:
    """Build the demo world under ``home``, or return the one that is there.

    It appears at once or not at all; callers that may run at the same time hold the pair's lock. A world built by other
    code than is installed now is kept as it is: its broker refuses the new code until ``reset``.

    Args:
        home: ``CLOISTER_HOME``.
        tables: Generators by table name (tests use smaller ones).
        now: The time of signing.
        epsilon: Budget of every population.

    Raises:
        CloisterError: A table cannot be sealed, or a file cannot be used.
    """
    root = world_folder(home)
    found = load_world(home)
    if found is not None:
        _trust(home, found)
        return found
    shutil.rmtree(root, ignore_errors=True)
    work = root.with_name(f".{root.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True, mode=0o700)
    try:
        world = _build(home, work, root, tables=tables or TABLES, now=now or datetime.now(UTC), epsilon=epsilon)
        work.rename(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _trust(home, world)
    return world


def is_stale(home: Path) -> bool:
    """Whether there is a demo world that the code installed now cannot use: built by other code, or unreadable."""
    try:
        world = load_world(home)
    except MalformedError:
        return True
    return world is not None and world.env_digest != measure().digest


def reset(home: Path, **options: Any) -> World:
    """Throw the demo world away and build a new one: new keys, a new contract, full budgets.

    Nothing of the running pair may use it any more; receipts and the analyst's key are kept.
    """
    root = world_folder(home)
    # What a killed build left behind goes as well.
    for folder in (root, *root.parent.glob(f".{root.name}.*.tmp")):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(TrustStore(home / "trust").folder / ENTRY, ignore_errors=True)
    return build_world(home, **options)


def _build(home: Path, work: Path, root: Path, *, tables: Tables, now: datetime, epsilon: str) -> World:
    """Play every party in turn; paths written into files are those after the rename."""
    # 1. Providers: keys, and their tables sealed under their cards.
    names = sorted({card.name.partition(".")[0] for card in demo_cards.CARDS})
    providers = {name: create_identity(work / "providers" / f"{name}.key") for name in names}
    sealed = {card.name: _seal(card, tables[card.name](), work, providers) for card in demo_cards.CARDS}
    # 2. The broker: its key and data keys, and a policy that admits this install's simulator and code only.
    env_digest = measure().digest
    simulator = SimulatorAttester.load(home).did
    policy = write_policy(
        "demo", tees=("simulator",), simulated=True, env_digests=(env_digest,), instances=(simulator,)
    )
    broker = BrokerHome.create(work / "broker", policy)
    for card in demo_cards.CARDS:
        broker.add_capsule(card, sealed[card.name])
    # 3. The contract, signed by every party.
    analyst = TrustStore(home / "trust").analyst_key()
    contract = _terms(
        sealed,
        providers=providers,
        broker=broker.identity().did,
        analyst=analyst.did,
        policy=policy_digest(policy),
        now=now,
        epsilon=epsilon,
    )
    document = signing.sign_contract(contract, *providers.values(), analyst)
    broker.contracts.add(document, now=_text(now))
    _write(work / "contract.json", document)
    # 4. The enclave's configuration. The pair fills in addresses.
    capsules = {card.name: root / "capsules" / card.name for card in demo_cards.CARDS}
    cards = tuple(folder / CARD_FILE for folder in capsules.values())
    served = {
        "contract": str(root / "contract.json"),
        "cards": [str(card) for card in cards],
        "capsules": {sealed[name].manifest_digest: str(folder) for name, folder in capsules.items()},
    }
    _write(work / "enclave.json", {"contracts": [served]})
    world = World(
        root=root,
        broker_home=root / "broker",
        broker_dids=(broker.identity().did,),
        provider_dids={name: key.did for name, key in providers.items()},
        analyst_did=analyst.did,
        contract=root / "contract.json",
        contract_digest=signing.contract_digest(document),
        cards=cards,
        capsules=capsules,
        enclave_config=root / "enclave.json",
        env_digest=env_digest,
        policy_digest=policy_digest(policy),
    )
    _write(work / "world.json", msgspec.to_builtins(world, enc_hook=str))
    return world


def _seal(card: Card, frame: pd.DataFrame, work: Path, providers: dict[str, SigningKey]) -> Sealed:
    return seal(card, frame, work / "capsules" / card.name, providers[card.name.partition(".")[0]])


def _terms(
    sealed: dict[str, Sealed],
    *,
    providers: dict[str, SigningKey],
    broker: str,
    analyst: str,
    policy: str,
    now: datetime,
    epsilon: str,
) -> Contract:
    populations = list(dict.fromkeys(card.population for card in demo_cards.CARDS))
    return Contract(
        name="demo",
        title="Cloister demonstration",
        parties=(
            *(Party(name, key.did, "provider") for name, key in providers.items()),
            Party(ANALYST, analyst, "analyst"),
        ),
        # The pair tells the enclave the real address; nothing is trusted because of it.
        brokers=(Broker(BROKER, broker, "http://127.0.0.1:0"),),
        tables=tuple(
            TableTerms(
                card.name,
                card.name.partition(".")[0],
                BROKER,
                sealed[card.name].card_digest,
                sealed[card.name].manifest_digest,
            )
            for card in demo_cards.CARDS
        ),
        purposes=(demo_cards.PURPOSE,),
        operations=OPERATIONS,
        regime="dp",
        budgets=tuple(Budget(name, BROKER, epsilon, DELTA, DEFAULT_SHARE) for name in populations),
        analyst_limits=tuple(AnalystLimit(ANALYST, name, "1") for name in populations),
        limits=default_limits(RELEASES, demo_cards.CARDS, OPERATIONS),
        policies={BROKER: policy, ANALYST: policy},
        placement="colocated",
        tenancy="shared",
        accept_simulated=True,
        share_releases=False,
        not_before=_text(now - timedelta(minutes=5)),
        not_after=_text(now + timedelta(days=VALID_DAYS)),
    )


def _trust(home: Path, world: World) -> None:
    """Write the analyst's decision, unless there is one for this contract: an own policy is left alone."""
    store = TrustStore(home / "trust")
    if ENTRY in store.names() and store.load(ENTRY).contract_digest == world.contract_digest:
        return
    policy = (world.broker_home / "policy.toml").read_text("utf-8")
    store.save(
        make_entry(ENTRY, endpoint="demo:", contract=world.contract_envelope(), policy=policy, accept_simulated=True)
    )


def _write(path: Path, value: Any) -> None:
    path.write_bytes(canonical.encode(value))
    path.chmod(0o600)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
