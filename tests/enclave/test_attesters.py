"""Attesters: configfs-tsm against a tree that behaves as its ABI says, and the choice that never falls back."""

from __future__ import annotations

import errno
import struct
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from cloister import cli
from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Evidence
from cloister.attest.tee import manifest as manifests
from cloister.attest.tee.formats import FORMATS
from cloister.enclave import attesters, here, snp_table, tsm
from cloister.enclave import machine as machines
from cloister.enclave.attesters import Choice, choose
from cloister.enclave.config import load_config
from cloister.enclave.simulator import SimulatorAttester
from cloister.enclave.tsm import Configfs, TsmAttester
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.reviewer import vectors

DATA = b"b" * 64
QUOTE = struct.pack("<HHI", 4, 2, 0x81) + b"quote over "


class FakeTree:
    """What Linux does with ``tsm/report``: attributes come with the entry, every write counts, outblob is inblob's."""

    def __init__(self, provider: str = "tdx_guest", head: bytes = QUOTE, auxblob: bytes = b"") -> None:
        self.provider, self.head, self.auxblob = provider, head, auxblob
        self.entries: dict[str, dict[str, bytes]] = {}
        self.made: list[str] = []
        self.failures: list[int] = []
        self.intruders: list[bytes] = []

    def make(self, name: str) -> None:
        if name in self.entries:
            raise FileExistsError(errno.EEXIST, "exists")
        self.made.append(name)
        self.entries[name] = {"generation": b"0\n", "provider": self.provider.encode() + b"\n", "inblob": b""}

    def write(self, name: str, attribute: str, data: bytes) -> None:
        entry = self.entries[name]
        assert attribute == "inblob"
        assert len(data) <= 64
        entry["inblob"] = data
        entry["generation"] = b"%d\n" % (int(entry["generation"]) + 1)
        if self.intruders and (intruder := self.intruders.pop(0)):
            entry["inblob"] = intruder
            entry["generation"] = b"%d\n" % (int(entry["generation"]) + 1)

    def read(self, name: str, attribute: str) -> bytes:
        entry = self.entries[name]
        if attribute == "outblob":
            if self.failures:
                raise OSError(self.failures.pop(0), "failed")
            return self.head + entry["inblob"]
        return self.auxblob if attribute == "auxblob" else entry[attribute]

    def remove(self, name: str) -> None:
        del self.entries[name]


def collect(tree: FakeTree, **options: Any) -> Evidence:
    return TsmAttester(tree, **options).collect(DATA, contract="", env_digest="", runtime={})


def test_a_trust_domain_is_asked_in_an_entry_of_its_own() -> None:
    tree = FakeTree()
    evidence = collect(tree)
    assert (evidence.tee, evidence.format, evidence.endorsements) == ("tdx", "tdx_quote_v4", {})
    assert unb64(evidence.blob) == QUOTE + DATA
    # One entry to ask for the provider, one for the report, neither left behind.
    assert len(set(tree.made)) == 2
    assert tree.entries == {}


def table(*entries: tuple[str, bytes]) -> bytes:
    head, body, start = b"", b"", 24 * (len(entries) + 1)
    for name, data in entries:
        head += uuid.UUID(name).bytes_le + struct.pack("<II", start + len(body), len(data))
        body += data
    return head + bytes(24) + body


VCEK, VLEK, ARK = (
    "63da758d-e664-4564-adc5-f4b93be8accd", "a8074bc2-a25a-483e-aae6-39c045a0b8a1",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae",
)  # fmt: skip


def test_an_snp_guest_brings_the_certificate_of_its_host() -> None:
    tree = FakeTree("sev_guest", struct.pack("<I", 3), table((ARK, b"ark"), (VCEK, b"vcek")))
    evidence = collect(tree)
    assert (evidence.tee, evidence.format) == ("snp", "snp_report_v3")
    assert unb64(evidence.endorsements["vek"]) == b"vcek"
    assert collect(FakeTree("sev_guest", struct.pack("<I", 2))).endorsements == {}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", b""),
        (bytes(24), b""),
        (table((VCEK, b"a"), (VLEK, b"b")), b"b"),
        (table((VCEK, b"abc"))[:-1], b""),
        (uuid.UUID(VCEK).bytes_le + struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF), b""),
        (b"\xff" * 4096, b""),
    ],
)
def test_a_hosts_table_may_be_anything(data: bytes, found: bytes) -> None:
    assert snp_table.endorsement(data, signed_by(1)) == found


def signed_by(key: int) -> bytes:
    """Return the head of a report that names its key: 0 the chip's (VCEK), 1 the operator's (VLEK), 7 none."""
    return bytes(0x48) + struct.pack("<I", key << 2)


def test_of_two_certificates_the_one_of_the_key_that_signed_is_taken() -> None:
    both = table((VCEK, b"chip"), (VLEK, b"operator"))
    assert [snp_table.endorsement(both, signed_by(key)) for key in (0, 1, 7)] == [b"chip", b"operator", b""]
    assert snp_table.endorsement(table((VLEK, b"operator")), signed_by(0)) == b""


def test_a_request_that_somebody_else_wrote_into_is_made_again() -> None:
    tree = FakeTree()
    attester = TsmAttester(tree)
    tree.intruders = [b"x" * 64, b"y" * 64, b""]
    evidence = attester.collect(DATA, contract="", env_digest="", runtime={})
    assert unb64(evidence.blob) == QUOTE + DATA
    assert len(tree.made) == 4
    assert tree.entries == {}


def test_somebody_who_keeps_writing_gets_no_report_out_in_our_name() -> None:
    tree = FakeTree()
    attester = TsmAttester(tree)
    tree.intruders = [b"x" * 64] * 50
    with pytest.raises(UnavailableError) as excinfo:
        attester.collect(DATA, contract="", env_digest="", runtime={})
    assert excinfo.value.code == "attester.failed"
    assert tree.entries == {}


def test_busy_is_tried_again_and_everything_else_is_not() -> None:
    tree = FakeTree()
    attester = TsmAttester(tree)
    tree.failures = [errno.EBUSY, errno.EBUSY]
    assert unb64(attester.collect(DATA, contract="", env_digest="", runtime={}).blob) == QUOTE + DATA
    for number in (errno.EFBIG, errno.EIO, errno.ENXIO):
        tree.failures = [number, 0]
        with pytest.raises(UnavailableError, match=errno.errorcode[number]):
            attester.collect(DATA, contract="", env_digest="", runtime={})
    tree.failures = [errno.EBUSY] * 50
    with pytest.raises(UnavailableError):
        attester.collect(DATA, contract="", env_digest="", runtime={})
    assert tree.entries == {}


def test_a_report_covers_64_bytes() -> None:
    with pytest.raises(MalformedError):
        TsmAttester(FakeTree()).collect(b"x" * 48, contract="", env_digest="", runtime={})


def test_a_provider_nobody_knows_is_refused() -> None:
    with pytest.raises(UnavailableError, match="cca_guest"):
        TsmAttester(FakeTree("cca_guest"))


def test_endorsements_are_read_for_each_request(tmp_path: Path) -> None:
    collateral = tmp_path / "collateral.json"
    attester = TsmAttester(FakeTree(), {"collateral": collateral})
    with pytest.raises(UnavailableError, match="collateral"):
        attester.collect(DATA, contract="", env_digest="", runtime={})
    for text in (b"june", b"july"):
        collateral.write_bytes(text)
        evidence = attester.collect(DATA, contract="", env_digest="", runtime={})
        assert unb64(evidence.endorsements["collateral"]) == text
    collateral.write_bytes(bytes(tsm.MAX_ENDORSEMENT + 1))
    with pytest.raises(UnavailableError, match="larger"):
        attester.collect(DATA, contract="", env_digest="", runtime={})


def test_attributes_are_read_and_written_whole(tmp_path: Path) -> None:
    tree = Configfs(tmp_path)
    tree.make("one")
    with pytest.raises(FileExistsError):
        tree.make("one")
    with pytest.raises(FileNotFoundError):
        # The kernel makes attributes; one that it did not make is not made here.
        tree.write("one", "inblob", DATA)
    (tmp_path / "one" / "inblob").touch()
    tree.write("one", "inblob", DATA)
    assert tree.read("one", "inblob") == DATA
    (tmp_path / "one" / "outblob").write_bytes(bytes(tsm.MAX_REPORT + 1))
    with pytest.raises(OSError, match="larger"):
        tree.read("one", "outblob")
    for name in ("inblob", "outblob"):
        (tmp_path / "one" / name).unlink()
    tree.remove("one")
    assert list(tmp_path.iterdir()) == []


# --- evidence of this machine, for whoever has one


class Stored:
    """An attester that hands out what real hardware once reported (tests/attest/data)."""

    tee = "tdx"

    def __init__(self, quote: str = "phala_tdx_v4.quote", form: str = "tdx_quote_v4", **endorsements: bytes) -> None:
        self.blob = (VECTORS / quote).read_bytes()
        self.form = form
        self.endorsements = {name: b64(data) for name, data in endorsements.items()}

    def collect(self, report_data: bytes, *, contract: str, env_digest: str, runtime: dict[str, Any]) -> Evidence:
        return Evidence(tee="tdx", format=self.form, blob=b64(self.blob), endorsements=self.endorsements)


VECTORS = Path(__file__).parents[1] / "attest" / "data" / "tdx"
COLLATERAL = (VECTORS / "phala_tdx_v4.collateral.json").read_bytes()
JULY = datetime(2025, 7, 4, tzinfo=UTC)
REPORTED = (VECTORS / "phala_tdx_v4.quote").read_bytes()[48 + 520 : 48 + 584]


def test_what_this_machine_reports_is_told_and_can_be_checked_by_others(tmp_path: Path) -> None:
    found = here.ask(Stored(collateral=COLLATERAL), REPORTED, JULY)
    told = here.lines(found)
    assert {"verdict: verified", "reports what was asked: yes", "debug: no", "tcb_status: UpToDate"} <= set(told)
    manifest = here.save(found, tmp_path / "vector")
    assert [str(line) for line in vectors.run(vectors.load(manifest), manifest.parent)] == [
        "tdx-2025-07-04  verified  ok"
    ]
    with pytest.raises(UnavailableError):
        here.save(found, tmp_path / "vector")


def test_a_row_says_what_ran_and_what_a_policy_would_think_of_it() -> None:
    good = here.row(here.ask(Stored(collateral=COLLATERAL), REPORTED, JULY), "Linux 6.12", "tsm")
    assert good.startswith("| 2025-07-04 | Linux 6.12 | tdx (tdx_quote_v4) | tsm | verified | ")
    # Nobody named an oldest collateral, so the hardware is not affirmed; nothing of the machine's name is in a row.
    assert "warning (hardware 32)" in good
    assert "ppid" not in good
    other = here.row(here.ask(Stored(collateral=COLLATERAL), bytes(64), JULY), "Linux 6.12", "tsm")
    assert "verified, NOT as asked | not appraised |" in other
    bad = here.row(here.ask(Stored(collateral=b"{}"), REPORTED, JULY), "Linux 6.12", "tsm")
    assert "rejected endorsements.malformed" in bad


def test_evidence_that_does_not_report_what_was_asked_says_so() -> None:
    found = here.ask(Stored(collateral=COLLATERAL), bytes(64), JULY)
    assert not found.bound
    assert "reports what was asked: NO" in here.lines(found)


def test_evidence_that_is_refused_can_be_kept_too(tmp_path: Path) -> None:
    for stored, reason in (
        (Stored(collateral=b"{}"), "endorsements.malformed"),
        (Stored(form="tdx_quote_v9"), "evidence.format"),
    ):
        found = here.ask(stored, REPORTED, JULY)
        assert here.lines(found)[-2:] == ["verdict: rejected", f"reason: {reason}"]
        here.save(found, tmp_path / reason)


def test_a_verifier_that_fails_in_any_way_is_a_refusal_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Any:
        raise KeyError("bank")

    stored = Stored(collateral=COLLATERAL)
    manifest = here.save(here.ask(stored, REPORTED, JULY), tmp_path / "vector")
    broken = {("tdx", "tdx_quote_v4"): msgspec.structs.replace(FORMATS["tdx", "tdx_quote_v4"], examine=failing)}
    monkeypatch.setattr(here, "FORMATS", broken)
    monkeypatch.setattr(manifests, "FORMATS", broken)
    assert here.lines(here.ask(stored, REPORTED, JULY))[-2:] == ["verdict: rejected", "reason: evidence.malformed"]
    (line,) = vectors.run(vectors.load(manifest), manifest.parent)
    assert (line.verdict, line.reason, line.wrong) == (
        "error", "evidence.malformed", "the verifier failed (KeyError)",
    )  # fmt: skip


def test_a_simulator_is_no_evidence_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as excinfo:
        here.ask(SimulatorAttester.load(tmp_path), REPORTED, JULY)
    assert excinfo.value.code == "attester.none"


@pytest.mark.parametrize(("choice", "code"), [("simulator", "attester.none"), ("tsm", "attester.failed")])
def test_the_command_says_what_is_missing(
    choice: Choice, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path)
    monkeypatch.setattr(attesters, "choose", lambda _auto, home, **given: choose(choice, home, root=root, **given))
    monkeypatch.setenv("CLOISTER_HOME", str(tmp_path))
    result = CliRunner().invoke(cli.app, ["attest", "here"])
    assert isinstance(result.exception, UnavailableError)
    assert result.exception.code == code


def test_the_command_exits_1_unless_the_evidence_is_verified_and_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attesters, "choose", lambda *_, **given: Stored(collateral=COLLATERAL))
    result = CliRunner().invoke(cli.app, ["attest", "here", "--save", str(tmp_path / "kept")])
    # What was stored in 2025 is neither current nor an answer to this question.
    assert result.exit_code == 1
    assert "reason: crl.expired" in result.stdout
    assert (tmp_path / "kept" / "MANIFEST.json").exists()


# --- the choice


def machine(tmp_path: Path, *paths: str) -> Path:
    root = tmp_path / "machine"
    root.mkdir()
    for path in paths:
        target = root / path.strip("/")
        target.mkdir(parents=True) if path.endswith("/") else (target.parent.mkdir(parents=True), target.touch())
    return root


def test_a_machine_without_a_tee_is_simulated(tmp_path: Path) -> None:
    found = choose("auto", tmp_path, root=machine(tmp_path))
    assert (found.tee, attesters.assurance(found)) == ("simulator", "simulated")


@pytest.mark.parametrize("device", machines.DEVICES)
def test_a_tee_that_nobody_speaks_for_is_not_simulated(device: str, tmp_path: Path) -> None:
    root = machine(tmp_path, device)
    with pytest.raises(UnavailableError) as excinfo:
        choose("auto", tmp_path, root=root)
    assert excinfo.value.code == "attester.unsupported"
    assert isinstance(choose("simulator", tmp_path, root=root), SimulatorAttester)


CPU = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu {}\nbugs\t\t: none\n"
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77\n"


@pytest.mark.parametrize(
    ("files", "inside"),
    [
        ({"proc/cpuinfo": CPU.format("hypervisor tdx_guest")}, True),
        ({"proc/cpuinfo": CPU.format("hypervisor sev_snp")}, True),
        ({"proc/cpuinfo": CPU.format("sev sev_es sev_snp")}, False),
        ({"proc/cpuinfo": CPU.format("hypervisor")}, False),
        ({"proc/cpuinfo": CPU.format("hypervisor") + "model name : tdx_guest\n"}, False),
        ({"sys/class/dmi/id/chassis_asset_tag": AZURE_TAG, "dev/tpmrm0": ""}, True),
        ({"sys/class/dmi/id/chassis_asset_tag": AZURE_TAG}, False),
        ({"sys/class/dmi/id/chassis_asset_tag": "other", "dev/tpm0": ""}, False),
        ({"sys/firmware/uv/prot_virt_guest": "1\n"}, True),
        ({"sys/firmware/uv/prot_virt_guest": "0\n"}, False),
        ({"dev/sgx_enclave": ""}, False),
    ],
    ids=["tdx", "snp", "snp-host", "vm", "a-name", "azure-tpm", "azure", "tpm", "ibm", "ibm-host", "sgx-host"],
)
def test_a_machine_without_devices_is_known_by_its_processor_and_firmware(
    files: dict[str, str], inside: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / "machine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if not inside:
        assert isinstance(choose("auto", tmp_path, root=tmp_path / "machine"), SimulatorAttester)
        return
    with pytest.raises(UnavailableError) as excinfo:
        choose("auto", tmp_path, root=tmp_path / "machine")
    assert excinfo.value.code == "attester.unsupported"
    assert '"attester": "simulator"' in excinfo.value.next_step


def test_hardware_that_fails_is_not_replaced_by_a_simulator(tmp_path: Path) -> None:
    # A tree that makes entries without attributes, as a file system that is not configfs would.
    root = machine(tmp_path, "/sys/kernel/config/tsm/report/")
    for choice in ("auto", "tsm"):
        with pytest.raises(UnavailableError) as excinfo:
            choose(choice, tmp_path, root=root)
        assert excinfo.value.code == "attester.failed"
    assert list((root / "sys/kernel/config/tsm/report").iterdir()) == []


def test_tsm_that_is_asked_for_and_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        choose("tsm", tmp_path, root=machine(tmp_path))


def test_receipts_say_what_kind_of_enclave_it_was() -> None:
    assert attesters.assurance(TsmAttester(FakeTree())) == "tdx"


def test_the_configuration_names_attesters_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "enclave.json"
    path.write_text('{"contracts": [], "attester": "tsm", "endorsements": {"collateral": "c.json"}}')
    assert load_config(path).attester == "tsm"
    path.write_text('{"contracts": [], "attester": "none"}')
    with pytest.raises(CloisterError):
        load_config(path)
