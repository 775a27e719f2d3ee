"""A small world for vault tests: two providers, their brokers, sealed capsules, one contract, one analyst.

Everything is real (keys, capsules, contract, broker processes with SQLite); only the data are tiny and known, so that
tests can say what the exact answers are.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from forker import Forked, Forker
from vault_agent import Network, VaultProcess

from cloister.attest.encoding import unb64
from cloister.attest.offer import make_offer
from cloister.attest.policy import policy_digest
from cloister.contract import signing
from cloister.contract.capsule_keys import TableKeys, group_key, table_secret
from cloister.contract.card import Card, Column
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import UnavailableError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Cause, Context
from cloister.provider import seal as sealing
from cloister.provider.broker import Broker as BrokerCore
from cloister.provider.home import BrokerHome
from cloister.vault.config import open_config
from cloister.vault.engine import Engine
from cloister.vault.keys import VaultKeys
from cloister.vault.state import VaultState
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

ENV_DIGEST = "sha384:" + "e" * 96
PURPOSE = "teaching"
POLICY = f"""
name = "tests"
version = 1

[accept]
tees = ["simulator"]
simulated = true

[reference]
env_digest = ["{ENV_DIGEST}"]
"""
PATIENTS = 300


def visits_card(**changes: Any) -> Card:
    """Return the card of the visits table: two rows per patient."""
    card = Card(
        name="st_anna.visits",
        title="Visits",
        description="Two visits per patient, known values.",
        unit="patient",
        key=("patient",),
        normaliser="exact",
        population="st_anna.patients",
        rows_per_unit=2,
        row_limit=1024,
        grade="demonstration",
        columns=(
            Column("patient", "string", 2, "Patient"),
            Column("age", "int", 2, "Age", low="0", high="100", step="1"),
            Column("sex", "string", 2, "Sex", domain=("f", "m")),
            Column("cost", "int", 2, "Cost", low="0", high="1000", step="1"),
            Column("genome", "int", 4, "Sensitive", low="0", high="10", step="1"),
        ),
        source="tests",
        retention="none",
        purposes=(PURPOSE,),
    )
    return msgspec.structs.replace(card, **changes)


def visits() -> pa.Table:
    """Return the visits: age = number of the patient mod 100, cost = 10 per visit, sexes alternate."""
    patients = [f"p{i:04d}" for i in range(PATIENTS) for _ in range(2)]
    ages = [i % 100 for i in range(PATIENTS) for _ in range(2)]
    return pa.table(
        {
            "patient": patients,
            "age": ages,
            "sex": ["f" if i % 2 else "m" for i in range(PATIENTS) for _ in range(2)],
            "cost": [10] * len(patients),
            "genome": [1] * len(patients),
        }
    )


def customers_card() -> Card:
    """Return the card of the second provider's table."""
    return Card(
        name="bank.customers",
        title="Customers",
        description="One row per customer.",
        unit="customer",
        key=("customer",),
        normaliser="exact",
        population="bank.customers",
        rows_per_unit=1,
        row_limit=512,
        grade="demonstration",
        columns=(
            Column("customer", "string", 2, "Customer"),
            Column("income", "int", 2, "Income", low="0", high="100", step="1"),
        ),
        source="tests",
        retention="none",
        purposes=(PURPOSE,),
    )


def customers() -> pa.Table:
    """Return 200 customers with an income of 50."""
    return pa.table({"customer": [f"c{i}" for i in range(200)], "income": [50] * 200})


def all_keys(sealed: sealing.Sealed, table: str, data_key: bytes | None = None) -> TableKeys:
    """Return all keys of a table: what a vault is given whose contract covers everything."""
    groups = next(one.groups for one in sealed.tables if one.card.name == table)
    key = data_key or sealed.data_key
    return TableKeys(table_secret(key, table), {n: group_key(key, table, n) for n in range(len(groups))})


def every(card: Card) -> frozenset[str]:
    """Return the names of all columns."""
    return frozenset(column.name for column in card.columns)


class BrokerProcess:
    """A broker as a process, on a fixed port so that it can be killed and started again."""

    def __init__(self, home: BrokerHome, *, serve: bool, forker: Forker | None = None) -> None:
        self.home = home
        self.did = home.identity().did
        self.url = "http://127.0.0.1:1"
        self._port = 0
        self._forker = forker
        self._process: Any = None
        if serve:
            self.start()

    def start(self) -> None:
        """Start, or start again."""
        ready = self.home.directory / "ready.json"
        ready.unlink(missing_ok=True)
        arguments = ["--home", str(self.home.directory), "--port", str(self._port), "--ready", str(ready)]
        if self._forker is not None:
            self._process = Forked(self._forker.start({"kind": "broker", "arguments": arguments}, []))
        else:
            with (self.home.directory / "broker.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "cloister.provider", *arguments],
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                    stdout=log,
                )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                self.url = json.loads(ready.read_text())["url"]
                self._port = int(self.url.rpartition(":")[2])
                return
            time.sleep(0.01)
        raise RuntimeError(f"the broker of {self.home.directory} does not start")

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart_if_dead(self) -> None:
        """Start again if the process has ended."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def tip(self, population: str) -> Any:
        """Return where an account stands, read from the database file."""
        from cloister.provider.accounts import Accounts

        accounts = Accounts(self.home.accounts_file)
        try:
            return accounts.read_tip(population)
        finally:
            accounts.close()

    def entries(self, population: str) -> list[dict[str, Any]]:
        """Return every entry of an account."""
        from cloister.provider.accounts import Accounts

        accounts = Accounts(self.home.accounts_file)
        try:
            return [json.loads(body) for body in accounts.entries(population)]
        finally:
            accounts.close()


class DirectTransport:
    """The brokers without processes or HTTP: function calls carry what the relay carries. Hooks as ``Network``."""

    def __init__(self, world: World, config: dict[str, Any]) -> None:
        self._world = world
        self._config = config
        self._brokers = {b.did: BrokerCore(b.home) for b in (world.anna_broker, world.bank_broker)}
        self.keys: VaultKeys | None = None
        self.before = self.after = lambda path, body: body
        self.posts: list[str] = []

    def post(self, broker: str, path: str, body: bytes) -> bytes:
        """Ask a broker; a hook that returns None loses the message."""
        sent = self.before(path, body)
        if sent is None:
            raise UnavailableError("broker.unavailable", "lost on the way there")
        self.posts.append(path)
        answer = self.after(path, getattr(self._brokers[broker], path.rpartition("/")[2])(sent))
        if answer is None:
            raise UnavailableError("broker.unavailable", "lost on the way back")
        return answer

    def attest(self, hello: bytes) -> bytes:
        """Return an offer for this vault's keys."""
        assert self.keys is not None
        contract = signing.payload_digest(msgspec.convert(self._config["contract"], Envelope))
        env_digest = self._config["env_digest"]
        offer, _ = make_offer(
            hello,
            lambda data: self._world.attester.collect(
                data, contract=contract, env_digest=env_digest, runtime={"isolation": "full"}
            ),
            kex_pub=unb64(self.keys.hpke_public),
            vault_id=self.keys.vault_id,
            env_digest=env_digest,
            role="broker-session",
            contract=contract,
        )
        return canonical.encode(offer)


class World:
    """Parties, brokers, capsules and a way to draft contracts. Without ``serve`` no broker process is started."""

    def __init__(
        self,
        root: Path,
        *,
        card: Card | None = None,
        data: pa.Table | None = None,
        second: tuple[Card, pa.Table] | None = None,
        serve: bool = True,
        forker: Forker | None = None,
    ) -> None:
        self.root = root
        self.analyst, self.other_analyst = SigningKey.generate(), SigningKey.generate()
        self.anna, self.bank = SigningKey.generate(), SigningKey.generate()
        self.attester = SimulatorAttester(SigningKey.generate())
        self.card = card or visits_card()
        self.bank_card, bank_data = second or (customers_card(), customers())
        self.visits = sealing.seal(self.card, visits() if data is None else data, root / "visits", self.anna)
        self.customers = sealing.seal(self.bank_card, bank_data, root / "customers", self.bank)
        self.anna_home = BrokerHome.create(root / "anna-broker", POLICY)
        self.bank_home = BrokerHome.create(root / "bank-broker", POLICY)
        self.anna_home.add_capsule(self.visits)
        self.bank_home.add_capsule(self.customers)
        self.anna_broker, self.bank_broker = (
            BrokerProcess(home, serve=serve, forker=forker) for home in (self.anna_home, self.bank_home)
        )
        self.network = self.new_network()
        self._names = itertools.count(1)

    def new_network(self) -> Network:
        """Return a network of its own, to misbehave on."""
        return Network({b.did: b.url for b in (self.anna_broker, self.bank_broker)})

    def contract(self, **changes: Any) -> Contract:
        """Return a fresh contract (its name differs, so its accounts start empty only per population)."""
        terms = Contract(
            name=f"study-{next(self._names)}-{os.urandom(4).hex()}",
            title="Two providers",
            parties=(
                Party("st_anna", self.anna.did, "provider"),
                Party("bank", self.bank.did, "provider"),
                Party("ada", self.analyst.did, "analyst"),
                Party("bob", self.other_analyst.did, "analyst"),
            ),
            brokers=(
                Broker("anna-broker", self.anna_broker.did, self.anna_broker.url),
                Broker("bank-broker", self.bank_broker.did, self.bank_broker.url),
            ),
            tables=(
                self._table(self.card, "st_anna", "anna-broker", self.visits),
                self._table(self.bank_card, "bank", "bank-broker", self.customers),
            ),
            purposes=(PURPOSE,),
            operations=("aggregate", "model"),
            regime="dp",
            budgets=(
                Budget(self.card.population, "anna-broker", "8", "1/1000000", "0.02"),
                Budget(self.bank_card.population, "bank-broker", "8", "1/1000000", "0.02"),
            ),
            analyst_limits=(AnalystLimit("bob", self.card.population, "0.25"),),
            limits=Limits(releases=1000, rows=10**9, compute=10**6, models=100),
            policies={"anna-broker": policy_digest(POLICY), "bank-broker": policy_digest(POLICY)},
            placement="colocated",
            tenancy="shared",
            accept_simulated=True,
            share_releases=False,
            not_before="2020-01-01T00:00:00Z",
            not_after="2099-01-01T00:00:00Z",
        )  # fmt: skip
        return msgspec.structs.replace(terms, **changes)

    @staticmethod
    def _table(card: Card, provider: str, broker: str, sealed: sealing.Sealed) -> TableTerms:
        return TableTerms(card.name, provider, broker, sealed.card_digest, sealed.manifest_digest)

    def sign(self, contract: Contract, *, register: bool = True) -> Any:
        """Return the contract signed by all, registered at both brokers."""
        keys = [self.anna, self.bank, self.analyst, self.other_analyst]
        names = {party.did for party in contract.parties}
        document = signing.sign_contract(contract, *(key for key in keys if key.did in names))
        if register:
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for home in (self.anna_home, self.bank_home):
                home.contracts.add(document, now=min(now, contract.not_before))
        return document

    def config(self, document: Any = None, **changes: Any) -> dict[str, Any]:
        """Return the ``OPEN`` message for a signed contract."""
        document = document or self.sign(self.contract())
        cards = [json.loads((s.directory / "card.json").read_text()) for s in (self.visits, self.customers)]
        config = {
            "contract": msgspec.to_builtins(document),
            "cards": cards,
            "capsules": {
                self.visits.manifest_digest: str(self.visits.directory),
                self.customers.manifest_digest: str(self.customers.directory),
            },
            "env_digest": ENV_DIGEST,
            "mode": "confidential",
            "assurance": "simulated",
        }
        return {**config, **changes}

    def vault(self, config: dict[str, Any] | None = None, network: Network | None = None, **more: Any) -> VaultProcess:
        """Start a vault."""
        analyst = more.pop("analyst", self.analyst.did)
        return VaultProcess(config or self.config(), network or self.network, self.attester, analyst=analyst, **more)

    def state(self, document: Any = None, *, engine: Any = None, **changes: Any) -> tuple[VaultState, DirectTransport]:
        """Return the state of a vault in this very process, and its way to in-process brokers."""
        config = self.config(document, **changes)
        terms = open_config(canonical.encode(config))
        transport = DirectTransport(self, config)
        keys = VaultKeys()
        transport.keys = keys
        return VaultState(terms, keys, transport, engine or Engine(1), alarm=False), transport

    def close(self) -> None:
        """Stop the brokers."""
        self.anna_broker.kill()
        self.bank_broker.kill()


def plan(
    *measures: a.Measure, table: str = "st_anna.visits", where: a.Scalar | None = None, keys: tuple[str, ...] = (),
    rho: str = "1/100",
) -> dict[str, Any]:  # fmt: skip
    """Return a plan on the wire."""
    source: a.Relation = a.Table(table)
    if where is not None:
        source = a.Filter(source, where)
    return codec.encode(a.VectorSum(source, measures or (a.Count("n"),), rho, keys))


def numbered(number: int, rho: str = "1/1000") -> dict[str, Any]:
    """Return one of many different plans of equal cost."""
    return plan(a.Count("n"), where=a.Compare("ge", a.Col("age"), a.Number(str(number))), rho=rho)


def context(world: World, **changes: Any) -> Context:
    """Return what the agent would vouch for."""
    base = Context("session-1", world.analyst.did, PURPOSE, "sha256:" + "1" * 64, Cause("cell", "m1"))
    return msgspec.structs.replace(base, **changes)
