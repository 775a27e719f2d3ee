"""A delivery from the analyst's cell to the receiver's file: proposed, approved, delivered, opened, joined."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner
from vault_world import PATIENTS, World, context

from cloister import cli
from cloister.contract import signing
from cloister.contract.exits import DeliverTerms, Exits, Receiver
from cloister.contract.unit_keys import key_bytes, unit_hash, unit_salt
from cloister.errors import CloisterError, PlanError
from cloister.plan.link import Request
from cloister.receipt import delivery
from cloister.receiver import opening
from cloister.receiver.keys import create_key, read_key
from cloister.sandbox.budget import Budget
from cloister.sandbox.deliver import Delivered
from cloister.sandbox.frame import Frame
from cloister.sandbox.session import Session
from cloister.vault import deadline
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.engine import Engine
from cloister.vault.mock import MockVault
from cloister.wire import canonical

replace = msgspec.structs.replace


class Peer:
    """The link without processes: requests cross as JSON."""

    def __init__(self, world: World, vault: Any) -> None:
        self._operations, self._context = vault.operations(), context(world)

    def request(self, op: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        request = msgspec.json.decode(msgspec.json.encode(Request(1, op, document)), type=Request)  # type: ignore[arg-type]
        result: dict[str, Any] = msgspec.json.decode(
            canonical.encode(self._operations[op](self._context, request).result)
        )
        return result


class Made:
    """One delivery and all that belongs to it."""

    def __init__(self, world: World, root: Path) -> None:
        self.root, self.key = root, root / "bureau.key"
        public = create_key(self.key)
        exits = Exits(receivers=(Receiver("bureau", public),))
        before = self.session(world, world.contract())
        proposal = ages(before).deliver.proposal("age", step=0.5, receiver="bureau")
        proposal.to_json(root / "proposal.json")
        self.digest = proposal.digest
        exits = replace(exits, deliveries=(DeliverTerms(self.digest, "bureau", 1),))
        self.document = world.sign(world.contract(exits=exits))
        self.state, _ = world.state(self.document)
        self.seen = Session(Peer(world, ConfidentialVault(self.state)))
        self.delivered = ages(self.seen).deliver("age", step=0.5)
        self.file = self.delivered.save(root / "scores.delivery")
        self.contract = root / "contract.json"
        self.contract.write_bytes(canonical.encode(self.document))

    @staticmethod
    def session(world: World, contract: Any) -> Session:
        return Session(Peer(world, ConfidentialVault(world.state(world.sign(contract))[0])))


def ages(session: Session) -> Frame:
    """Return one row per patient with the largest age."""
    found = Frame.of_table(session, "st_anna.visits").groupby("patient").agg(age=("age", "max"))
    assert isinstance(found, Frame)
    return found


@pytest.fixture(scope="module", autouse=True)
def _no_grace() -> Iterator[None]:
    """A busy machine makes loads late: what a late answer waits for is tested elsewhere."""
    begin = deadline.Deadline.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline.Deadline, "__init__", lambda self, planned_ms, *_: begin(self, planned_ms, 0.05))
        yield


@pytest.fixture(scope="module")
def made(quiet_world: World, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(quiet_world, tmp_path_factory.mktemp("made"))


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(cli.whole(), [str(one) for one in arguments])


def refusal(*arguments: Any) -> str:
    found = run(*arguments)
    assert isinstance(found.exception, CloisterError) and found.exception.next_step
    return found.exception.code


def test_the_proposal_is_what_is_approved_and_the_providers_can_read_it(made: Made) -> None:
    document = (made.root / "proposal.json").read_bytes()
    assert canonical.digest_bytes(document) == made.digest
    assert json.loads(document)["receiver"] == "bureau"


def test_the_analyst_sees_that_it_was_delivered_and_no_score(made: Made) -> None:
    shown = repr(made.delivered) + made.delivered._repr_html_()
    assert "sealed to bureau, outside the formal guarantee" in shown
    assert "counted once" in shown
    assert isinstance(ages(made.seen).deliver("age", step=0.5), Delivered)
    assert ages(made.seen).deliver("age", step=0.5).file == made.delivered.file
    cost = ages(made.seen).deliver.cost("age", step=0.5)
    assert "no privacy budget" in repr(cost) and cost.usage.rows == 1024


def test_the_receiver_gets_scores_with_his_own_keys(made: Made, tmp_path: Path) -> None:
    mine = tmp_path / "customers.csv"
    mine.write_text("patient,name\np0007,Ada\nnobody,Bob\np0042,Eve\n", "utf-8")
    out = tmp_path / "scores.csv"
    found = run("open", made.file, "--key", made.key, "--contract", made.contract, "--keys", mine, "--out", out)
    assert found.exit_code == 0, found.exception
    assert list(csv.reader(io.StringIO(out.read_text()))) == [["patient", "score"], ["p0007", "7"], ["p0042", "42"]]
    for piece in ("delivered at", "2 of your 3 keys", f"{PATIENTS - 2} units match none", "outside the formal"):
        assert piece in found.output
    digest, parties = signing.contract_digest(made.document), signing.read_unverified(made.document).parties
    anchors = [digest, *(party.did for party in parties if party.role == "provider"), opening.COMPARE]
    assert len(anchors) > 2 and all(anchor in found.output for anchor in anchors)
    everyone = run("open", made.file, "--key", made.key)
    assert everyone.exit_code == 0 and "origin NOT checked" in everyone.output
    assert "p0007" not in everyone.output


def test_scores_are_written_for_the_receiver_alone(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("older")
    out.chmod(0o644)
    assert run("open", made.file, "--key", made.key, "--out", out).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().startswith("unit,score\n")
    for nowhere in (tmp_path / "no" / "folder.csv", tmp_path):
        assert refusal("open", made.file, "--key", made.key, "--out", nowhere) == "receiver.out"
    assert list(tmp_path.iterdir()) == [out]


def test_another_key_opens_nothing(made: Made, tmp_path: Path) -> None:
    create_key(tmp_path / "other.key")
    assert refusal("open", made.file, "--key", tmp_path / "other.key") == "delivery.key"
    assert refusal("open", made.file, "--key", made.contract) == "receiver.key"
    assert refusal("receiver", made.key) == "receiver.key"
    assert made.key.stat().st_mode & 0o077 == 0


HEADER = ["contract", "plan", "receiver", "charge_id", "low", "step", "unit", "normaliser"]


@pytest.mark.parametrize("field", [*HEADER, "points", "capacity", "kinds", "key", "content", "cut"])
def test_an_altered_file_is_refused(made: Made, tmp_path: Path, field: str) -> None:
    document = json.loads(made.file.read_bytes())
    header = document["header"]
    if field == "content":
        body = bytearray(base64.b64decode(document["content"]))
        body[40] ^= 1
        document["content"] = base64.b64encode(bytes(body)).decode()
    elif field == "kinds":
        header["kinds"] = ["int"]
    elif field in ("points", "capacity"):
        header[field] -= 1
    elif field == "normaliser":
        header["normaliser"] = "ascii-lower-strip"
    elif field in ("low", "step"):
        header[field] = "3"
    elif field != "cut":
        header[field] = ("A" if header[field][0] != "A" else "B") + header[field][1:]
    bad = tmp_path / "bad.delivery"
    data = canonical.encode(document)
    bad.write_bytes(data[:-9] if field == "cut" else data)
    assert refusal("open", bad, "--key", made.key) in {"delivery.altered", "delivery.file"}


def test_a_file_of_another_contract_or_of_nobody_is_refused(made: Made, quiet_world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(canonical.encode(quiet_world.sign(quiet_world.contract())))
    assert refusal("open", made.file, "--key", made.key, "--contract", other) == "delivery.contract"
    # Anybody can seal something to a public key: without the receipt of an admitted vault nothing shows who did.
    document = json.loads(made.file.read_bytes())
    forged = tmp_path / "forged.delivery"
    forged.write_bytes(canonical.encode({**document, "receipt": None, "admissions": []}))
    assert refusal("open", forged, "--key", made.key, "--contract", made.contract) == "delivery.origin"
    forged.write_bytes(canonical.encode({**document, "admissions": []}))
    assert refusal("open", forged, "--key", made.key, "--contract", made.contract) == "receipt.admission"


def test_a_self_made_file_with_a_true_receipt_is_refused(made: Made, tmp_path: Path) -> None:
    """The receipt names the file: another content under it, well sealed to the receiver, has no origin."""
    found = delivery.read_delivery(made.file.read_bytes())
    content_key = bytes(32)
    header = replace(found.header, key=delivery.seal_key(content_key, found.header))
    content = delivery.seal_content([(bytes(16), 1)], header, content_key)
    forged = tmp_path / "forged.delivery"
    forged.write_bytes(canonical.encode(replace(found, header=header, content=base64.b64encode(content).decode())))
    assert run("open", forged, "--key", made.key).exit_code == 0, "it opens, and its origin is not checked"
    assert refusal("open", forged, "--key", made.key, "--contract", made.contract) == "delivery.origin"


def test_what_cannot_be_delivered_is_explained_before_anything_travels(made: Made) -> None:
    visits = Frame.of_table(made.seen, "st_anna.visits")
    for asked, code in (
        (lambda: visits.deliver("age", step=1), "plan.units"),
        (lambda: ages(made.seen).deliver("age", step=0.01), "plan.score"),
        (lambda: ages(made.seen).deliver("age", step=0), "plan.step"),
        (lambda: ages(made.seen).deliver(3, step=0.5), "api.deliver"),
        (lambda: ages(made.seen).deliver("age", step=0.5, receiver="another"), "exit.receiver"),
        (lambda: ages(made.seen).deliver("age", step=1), "exit.deliver"),
    ):
        with pytest.raises(CloisterError) as caught:
            asked()
        assert caught.value.code == code, caught.value
    with pytest.raises(CloisterError):
        visits.deliver("nothing", step=1)


def test_the_account_says_what_is_excluded_wherever_the_analyst_looks(made: Made, quiet_world: World) -> None:
    shown = Budget(made.seen)
    for text in (repr(shown), shown._repr_html_()):
        assert "the formal guarantee excludes: deliver releases" in text
    plain = Made.session(quiet_world, quiet_world.contract())
    assert "excludes" not in repr(Budget(plain))


def test_a_session_without_receivers_says_so(quiet_world: World) -> None:
    session = Made.session(quiet_world, quiet_world.contract())
    with pytest.raises(PlanError) as caught:
        ages(session).deliver("age", step=1)
    assert caught.value.code == "api.receiver"


def test_a_mock_delivery_says_mock_wherever_it_is_shown(made: Made, quiet_world: World, tmp_path: Path) -> None:
    state, _ = quiet_world.state(made.document, mode="mock")
    session = Session(Peer(quiet_world, MockVault(state.terms, Engine(1))))
    found = ages(session).deliver("age", step=0.5)
    assert found.mock and "MOCK" in repr(found) and "mock" in found._repr_html_()
    assert "MOCK" in repr(ages(session).deliver.cost("age", step=0.5))
    file = found.save(tmp_path / "mock.delivery")
    opened = opening.open_file(file, read_key(made.key))
    assert opened.origin == opening.MOCK and opened.rows
    # Who checks the origin gets no row of a rehearsal, and no file.
    out = tmp_path / "scores.csv"
    assert refusal("open", file, "--key", made.key, "--contract", made.contract, "--out", out) == "delivery.mock"
    assert not out.exists()


@pytest.mark.parametrize(
    ("kinds", "normaliser", "parts"),
    [
        (("string",), "exact", [" Ab "]),
        (("string",), "ascii-lower-strip", [" \tÄAb\n"]),
        (("int",), "exact", ["7"]),
        (("date",), "exact", ["2024-02-29"]),
        (("string", "int"), "exact", ["a:b", "12"]),
    ],
)
def test_keys_are_hashed_as_the_vault_hashes_them(kinds: tuple[str, ...], normaliser: str, parts: list[str]) -> None:
    import datetime

    import pyarrow as pa
    from vault_world import visits_card

    from cloister.contract.card import Column
    from cloister.vault.load import Store

    limits: dict[str, Any] = {
        "int": {"low": "0", "high": "99", "step": "1"},
        "date": {"low": "2024-01-01", "high": "2024-12-31"},
        "string": {},
    }
    names = [f"k{place}" for place in range(len(kinds))]
    columns = tuple(Column(name, kind, 2, "Key", **limits[kind]) for name, kind in zip(names, kinds, strict=True))  # type: ignore[arg-type]
    card = visits_card(key=tuple(names), normaliser=normaliser, columns=columns)
    read: dict[str, Any] = {"int": int, "date": datetime.date.fromisoformat, "string": str}
    table = pa.table({name: [read[kind](part)] for name, kind, part in zip(names, kinds, parts, strict=True)})
    store = Store(1)
    store.add("t", card, [table], bytes(32), b"sha256:contract")
    (row,) = store.cursor().execute(f"SELECT unit FROM {store.tables['t']}").fetchall()
    salt = unit_salt(card.unit, kinds, normaliser, b"sha256:contract")
    assert unit_hash(salt, key_bytes(parts, kinds, normaliser)) == row[0].to_bytes(16, "big")


def test_the_scores_are_exact(made: Made) -> None:
    opened = opening.open_file(made.file, read_key(made.key), made.document)
    assert {row.score for row in opened.rows} == {Fraction(age) for age in range(100)}
