"""From a template to an approved question, by the commands that people type."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from provider_world import CARD, data
from typer.testing import CliRunner, Result

from cloister import cli
from cloister.attest.policy import policy_digest, write_policy
from cloister.contract import gallery, signing
from cloister.contract.card import Labels
from cloister.provider import contracts
from cloister.provider.home import BrokerHome
from cloister.provider.keys import create_identity
from cloister.provider.seal import seal

ENV = "sha384:" + "ab" * 48
NAMES = ("clinic", "ana", "carla", "dan")


class Desk:
    """Everybody's files in one directory, and the command."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind
        self.dids = {name: create_identity(root / f"{name}.key").did for name in NAMES}
        policy = write_policy("test", tees=("simulator",), simulated=True, env_digests=(ENV,), instances=("did:key:z",))
        self.home = BrokerHome.create(root / "broker", policy)
        labels = Labels("beijing-4") if kind == "city" else Labels(importance="general")
        if kind in {"enterprise", "personal"}:
            labels = msgspec.UNSET
        self.card = msgspec.structs.replace(CARD, labels=labels, grade="production")
        sealed = seal(self.card, data(), root / "capsule", self.key("clinic"))
        self.home.add_capsule(sealed)
        self.policy = policy_digest(policy)

    def key(self, name: str):
        return create_identity(self.root / f"{name}.key")

    def file(self, name: str) -> str:
        return str(self.root / name)

    def run(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli.whole(), list(arguments))
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def filled(self, **changes: str) -> str:
        """Return the template with its gaps filled in."""
        gaps = {
            "short name of the contract": "clinic-2026",
            "one line for people": "Visits for research",
            "purpose that every card allows": "research",
            "provider": "clinic",
            "analyst": "ana",
            "broker": "clinic-broker",
            "sha256 of the policy of its broker": self.policy,
            "did of the provider": self.dids["clinic"],
            "did of the analyst": self.dids["ana"],
            "did of the broker": self.home.identity().did,
            "folder of the capsule": "capsule",
            "table": "clinic.visits",
            "host": "operator:CN=cloud.example",
            "column": "age",
            "begin": "2026-01-01T00:00:00Z",
            "end": "2099-01-01T00:00:00Z",
            "first approver": "carla",
            "second approver": "dan",
            "did of the first approver": self.dids["carla"],
            "did of the second approver": self.dids["dan"],
            **changes,
        }
        return re.sub(r"<([^>]+)>", lambda gap: gaps[gap[1]], gallery.template(self.kind).partition("\n\n")[2])

    def draft(self, output: str = "contract.json", **changes: str) -> str:
        (self.root / "contract.toml").write_text(self.filled(**changes), encoding="utf-8")
        self.run("contract", "draft", self.file("contract.toml"), "--out", self.file(output))
        return self.file(output)

    def signed(self, output: str = "contract.json", **changes: str) -> str:
        path = self.draft(output, **changes)
        for name in ("clinic", "ana"):
            self.run("contract", "sign", path, "--key", self.file(f"{name}.key"))
        return path


@pytest.mark.parametrize("kind", sorted(gallery.KINDS))
def test_a_filled_template_is_a_contract_and_an_unfilled_one_is_not(tmp_path: Path, kind: str) -> None:
    desk = Desk(tmp_path, kind)
    path = desk.draft()
    desk.run("contract", "lint", path)
    assert desk.run("contract", "template").output.count("\n") >= len(gallery.KINDS)
    desk.run("contract", "template", kind, "--out", desk.file("empty.toml"))
    desk.run("contract", "draft", desk.file("empty.toml"), "--out", desk.file("no.json"), code=1)
    assert not Path(desk.file("no.json")).exists()


def test_from_a_template_to_an_approval_and_its_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "industry")
    path, broker = desk.signed(), desk.file("broker")
    digest = signing.contract_digest(contracts.read(Path(path).read_bytes()))
    assert "第 3 层" in desk.run("contract", "show", path, "--language", "zh").output
    assert "tier 3" in desk.run("contract", "show", path).output
    assert json.loads(desk.run("contract", "export", path, "--odrl").output)["@type"] == "Agreement"
    desk.run("broker", "add", broker, path)

    (tmp_path / "nda.txt").write_text("I keep it to myself.")
    request = desk.file("request.json")
    desk.run(
        "approval", "request", path, "--out", request, "--table", "clinic.visits", "--column", "bmi",
        "--operation", "aggregate", "--purpose", "research", "--necessity", "a study", "--lowers-to", "2",
        "--nda", desk.file("nda.txt"), "--key", desk.file("ana.key"),
    )  # fmt: skip
    sign = ("approval", "sign", request, "--contract", path, "--key")
    desk.run("broker", "approve", broker, request, code=1)
    desk.run("approval", "show", request, "--contract", path, code=1)
    desk.run(*sign, desk.file("ana.key"), code=1)
    desk.run(*sign, desk.file("clinic.key"), code=1)
    for name in ("carla", "dan"):
        desk.run(*sign, desk.file(f"{name}.key"))
    shown = desk.run("approval", "show", request, "--contract", path).output
    assert "approved by carla, dan" in shown
    assert "a study" in shown
    name = desk.run("broker", "approve", broker, request).output.strip()
    assert f"{name}  held" in desk.run("broker", "approvals", broker).output
    desk.run("broker", "withdraw", broker, name, "--reason", "a complaint")
    assert f"{name}  withdrawn" in desk.run("broker", "approvals", broker).output

    assert "nothing to do" in desk.run("broker", "sweep", broker).output
    ended = desk.run("broker", "complete", broker, digest, "--reason", "done").output
    assert "destroyed the key" in ended
    assert "revoked" in desk.run("broker", "contracts", broker).output


def test_an_amendment_is_compared_and_taken_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "enterprise")
    before, broker = desk.signed(), desk.file("broker")
    digest = signing.contract_digest(contracts.read(Path(before).read_bytes()))
    desk.run("broker", "add", broker, before)
    text = (
        desk.filled().replace("[terms]\n", f'[terms]\namends = "{digest}"\n').replace('epsilon = "8"', 'epsilon = "9"')
    )
    (tmp_path / "contract.toml").write_text(text, encoding="utf-8")
    after = desk.file("after.json")
    desk.run("contract", "draft", desk.file("contract.toml"), "--out", after)
    clauses = desk.run("contract", "diff", before, after).output
    assert "budgets[0].epsilon: 8 -> 9" in clauses
    assert "amendment.budget" in clauses
    english = desk.run("contract", "diff", before, after, "--language", "en").output
    assert "+ This contract takes the place of" in english
    assert "+ 本合约取代" in desk.run("contract", "diff", before, after, "--language", "zh").output
    for name in ("clinic", "ana"):
        desk.run("contract", "sign", after, "--key", desk.file(f"{name}.key"))
    desk.run("broker", "add", broker, after)
    listed = desk.run("broker", "contracts", broker).output
    assert sorted(re.findall(r"  (active|revoked)  ", listed)) == ["active", "revoked"]
    # A broker that is recovered without the amendment must not go on with what it took the place of.
    desk.run("audit", "export", broker, "--out", desk.file("export"))
    told = [line for line in Path(desk.file("export")).read_text().splitlines() if digest in line and "amended" in line]
    assert [json.loads(line)["status"] for line in told] == ["revoked"]
