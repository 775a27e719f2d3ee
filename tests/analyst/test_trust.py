"""The trust store: decisions are kept as they were made, and nothing else is believed."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from dial_world import DialWorld

from cloister.analyst.kernelspecs import LOGOS, install_kernelspecs, kernel_json, remove_kernelspecs
from cloister.analyst.trust import TrustStore, check_analyst, make_entry, read_contract
from cloister.contract import signing
from cloister.errors import ContractError, MalformedError, TrustError
from cloister.wire.identity import SigningKey

NOW = "2026-11-21T12:00:00Z"


@pytest.fixture
def dial_world(tmp_path: Path) -> DialWorld:
    return DialWorld(tmp_path)


def test_entries_come_back_as_they_were_saved(dial_world: DialWorld) -> None:
    entry = dial_world.entry("ws://127.0.0.1:1")
    dial_world.store.save(entry)
    assert dial_world.store.load("fair") == entry
    assert dial_world.store.names() == ("fair",)
    assert entry.purpose == "teaching"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "x" * 65, "a\n", ".hidden", "-x"])
def test_names_cannot_leave_the_store(dial_world: DialWorld, name: str) -> None:
    for attempt in (dial_world.store.load, lambda n: dial_world.store.save(dial_world.entry("ws://h", name=n))):
        with pytest.raises(TrustError) as excinfo:
            attempt(name)
        assert excinfo.value.code == "trust.name"


def test_unknown_entry(dial_world: DialWorld) -> None:
    with pytest.raises(TrustError) as excinfo:
        dial_world.store.load("nobody")
    assert excinfo.value.code == "trust.unknown"
    assert "connect" in excinfo.value.next_step


def test_exchanged_contract_is_noticed(dial_world: DialWorld) -> None:
    """Another contract, even one signed by everybody, is not the one that was accepted."""
    dial_world.store.save(dial_world.entry("ws://h"))
    other = dial_world.sign(dial_world.terms(title="another"))
    (dial_world.store.folder / "fair" / "contract.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(TrustError) as excinfo:
        dial_world.store.load("fair").terms(now=NOW)
    assert excinfo.value.code == "trust.contract"


def test_exchanged_policy_is_noticed(dial_world: DialWorld) -> None:
    dial_world.store.save(dial_world.entry("ws://h"))
    path = dial_world.store.folder / "fair" / "policy.toml"
    path.write_text(path.read_text().replace("sha384:", "sha384:0"))
    with pytest.raises(TrustError) as excinfo:
        dial_world.store.load("fair").terms(now=NOW)
    assert excinfo.value.code == "trust.policy"


@pytest.mark.parametrize("file", ["entry.json", "contract.json", "policy.toml"])
def test_damaged_entry(dial_world: DialWorld, file: str) -> None:
    dial_world.store.save(dial_world.entry("ws://h"))
    path = dial_world.store.folder / "fair" / file
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedError) as excinfo:
        dial_world.store.load("fair")
    assert excinfo.value.code == "trust.malformed"
    path.unlink()
    with pytest.raises(TrustError):
        dial_world.store.load("fair")


def test_unsigned_and_expired_contracts(dial_world: DialWorld) -> None:
    unsigned = signing.sign_contract(dial_world.terms(), dial_world.analyst)  # the provider is missing
    with pytest.raises(ContractError) as excinfo:
        dial_world.entry("ws://h", contract=unsigned).terms(now=NOW)
    assert excinfo.value.code == "contract.unsigned"
    with pytest.raises(ContractError) as excinfo:
        dial_world.entry("ws://h").terms(now="2999-01-01T00:00:00Z")
    assert excinfo.value.code == "contract.expired"


def test_contract_pins_the_analysts_policy(dial_world: DialWorld) -> None:
    entry = dial_world.entry("ws://h")
    check_analyst(dial_world.terms(policies={"ada": entry.policy_digest}), dial_world.analyst.did, entry.policy_digest)
    with pytest.raises(TrustError) as excinfo:
        check_analyst(
            dial_world.terms(policies={"ada": "sha256:" + "0" * 64}), dial_world.analyst.did, entry.policy_digest
        )
    assert excinfo.value.code == "trust.policy"


def test_strangers_are_no_analysts(dial_world: DialWorld) -> None:
    for did in (SigningKey.generate().did, dial_world.provider.did):
        with pytest.raises(ContractError) as excinfo:
            check_analyst(dial_world.terms(), did, "sha256:x")
        assert excinfo.value.code == "analyst.unknown"


def test_purposes_are_the_contracts(dial_world: DialWorld) -> None:
    with pytest.raises(ContractError) as excinfo:
        dial_world.entry("ws://h", purpose="spying")
    assert excinfo.value.code == "contract.purpose"


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_analyst_key_is_private_and_kept(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trust")
    with ThreadPoolExecutor(8) as pool:  # kernels opened at once share one key
        dids = set(pool.map(lambda _: store.analyst_key().did, range(16)))
    assert len(dids) == 1
    path = tmp_path / "trust" / "analyst.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(TrustError):
        store.analyst_key()
    path.chmod(0o600)
    path.write_bytes(b"x")
    with pytest.raises(TrustError):
        store.analyst_key()


def test_no_contract_file(tmp_path: Path) -> None:
    for content in (None, b"", b"{}", b'{"payloadType":"x","payload":"","signatures":[]}'):
        path = tmp_path / "contract.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ContractError) as excinfo:
            read_contract(path)
        assert excinfo.value.code == "contract.malformed"


def test_kernelspecs_name_an_entry_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_kernelspecs("fair", "A fair", prefix=tmp_path) == ("cloister-fair", "cloister-fair-mock")
    found = {}
    for mode, name in (("confidential", "cloister-fair"), ("mock", "cloister-fair-mock")):
        spec = json.loads((tmp_path / "share/jupyter/kernels" / name / "kernel.json").read_text())
        assert spec == kernel_json("fair", mode, "A fair")
        assert spec["argv"][1:] == [
            "-m", "cloister.analyst", "-f", "{connection_file}", "--entry", "fair", "--mode", mode,
        ]  # fmt: skip
        assert spec["env"] == {"PYTHONSAFEPATH": "1"}
        assert spec["interrupt_mode"] == "message"
        assert spec["metadata"] == {"debugger": False, "supported_encryption": ["curve"]}
        logo = (tmp_path / "share/jupyter/kernels" / name / "logo-svg.svg").read_bytes()
        assert logo == (LOGOS / f"{mode}.svg").read_bytes()
        found[mode] = spec["display_name"]
    assert found == {"confidential": "Cloister: A fair", "mock": "Cloister: A fair (mock)"}
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "share" / "jupyter"))
    remove_kernelspecs("fair")
    assert not (tmp_path / "share/jupyter/kernels/cloister-fair").exists()
    remove_kernelspecs("fair")


def test_default_purpose_of_an_entry(dial_world: DialWorld) -> None:
    entry = make_entry(
        "x",
        endpoint="ws://h",
        contract=dial_world.sign(dial_world.terms()),
        policy=dial_world.policy(),
        accept_simulated=True,
    )
    assert entry.purpose == "teaching"
