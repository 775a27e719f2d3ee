"""Reference values of a build: read from what is signed, replayed from what is logged, computed, and never assumed."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
import tomllib
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tpm_world
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from tee_world import vector
from test_hardware_appraisal import claims, outcome
from typer.testing import CliRunner

from cloister import cli
from cloister.attest import building
from cloister.attest.evidence import RejectedError
from cloister.attest.policy import parse_policy
from cloister.attest.references import CODE_REGISTERS, covered
from cloister.attest.releases import SoftwareRelease, check_release
from cloister.errors import CloisterError, MalformedError

ENV = "sha384:" + "e" * 96
ROOT = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def signer() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def sigstruct(key: rsa.RSAPrivateKey, *, debug: bool = False, tail: bytes = b"") -> bytes:
    """Return a SIGSTRUCT (Intel SDM 3D, 39.13) over MRENCLAVE 000102..1f."""
    head = bytes.fromhex("06000000e10000000000010000000000") + struct.pack("<II", 0, 0x20261128)
    head = (head + bytes.fromhex("01010000600000006000000001000000")).ljust(128, b"\0")
    body = bytes(28) + bytes([2 if debug else 0]).ljust(16, b"\0") + bytes(16) + bytes(range(32)) + bytes(32) + bytes(4)
    assert len(body) == 128
    signature = key.sign(head + body, padding.PKCS1v15(), SHA256())
    modulus = key.public_key().public_numbers().n.to_bytes(384, "little")
    made = head + modulus + struct.pack("<I", 3) + signature[::-1] + body + bytes(12 + 384 + 384)
    return made + tail


def test_mrenclave_is_read_from_what_its_signer_signed(signer: rsa.RSAPrivateKey) -> None:
    data = sigstruct(signer)
    assert len(data) == 1808
    found = building.of_sigstruct(data)
    assert found.launch == {"mr_enclave": (bytes(range(32)).hex(),)}
    assert hashlib.sha256(data[128:512]).hexdigest() in found.found["mr_enclave"]
    # MRENCLAVE covers every file by itself.
    assert found.references().covers_code


def test_a_sigstruct_that_is_changed_or_for_debugging_is_refused(signer: rsa.RSAPrivateKey) -> None:
    data = sigstruct(signer)
    for at in (0, 24, 40, 130, 520, 900, 960, 1026):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(MalformedError) as excinfo:
            building.of_sigstruct(changed)
        assert excinfo.value.code == "measure.sigstruct"
    for wrong in (sigstruct(signer, debug=True), data[:-1], data + b"\0", b""):
        with pytest.raises(MalformedError):
            building.of_sigstruct(wrong)


def test_a_real_event_log_gives_the_registers_of_its_quote() -> None:
    one = vector("tdx-google-cos113-ccel")
    found = building.of_event_log(one.endorsements["event_log"], one.blob)
    launch = one.examine().launch
    assert {name: values[0] for name, values in found.launch.items()} == {
        name: launch[name] for name in CODE_REGISTERS["tdx"]
    }
    assert covered("tdx", launch, found.lines())
    assert "43 events" in found.found["rtmr1"]
    assert not found.references().covers_code
    with pytest.raises(RejectedError) as excinfo:
        building.of_event_log(one.endorsements["event_log"], vector("tdx-phala-v4").blob)
    assert excinfo.value.code == "evidence.event_log"
    with pytest.raises(RejectedError):
        building.of_event_log(one.endorsements["event_log"], vector("sgx-phala-v3").blob)


def test_a_quote_of_ones_own_enclave_gives_mrenclave_unless_it_is_for_debugging() -> None:
    one = vector("sgx-phala-v3")
    assert building.of_mr_enclave(one.blob).launch == {"mr_enclave": (one.examine().launch["mr_enclave"],)}
    with pytest.raises(MalformedError):
        building.of_mr_enclave(vector("sgx-occlum-debug").blob)
    with pytest.raises(RejectedError):
        building.of_mr_enclave(vector("tdx-phala-v4").blob)


def test_a_vtpms_log_gives_its_registers_and_asks_for_the_hardware_below() -> None:
    log = tpm_world.event_log(
        *(tpm_world.event(*one) for one in ((0, b"firmware"), (4, b"loader"), (9, b"kernel"), (9, b"initrd")))
    )
    found = building.of_tpm_log(log, "azure-vtpm-snp", {"measurement": "aa"})
    assert set(found.launch) == set(CODE_REGISTERS["azure-vtpm-snp"])
    assert found.launch["pcr14"] == ("00" * 32,)
    first = hashlib.sha256(bytes(32) + hashlib.sha256(b"kernel").digest()).digest()
    assert found.launch["pcr9"] == (hashlib.sha256(first + hashlib.sha256(b"initrd").digest()).hexdigest(),)
    assert all(line.startswith("azure-vtpm-snp:") for line in found.lines())
    assert covered("azure-vtpm-snp", {name: values[0] for name, values in found.launch.items()}, found.lines())
    for tee, hardware in (("azure-vtpm-snp", {}), ("azure-vtpm-tdx", {"measurement": "aa"}), ("", {})):
        with pytest.raises(MalformedError) as excinfo:
            building.of_tpm_log(log, tee, hardware)
        assert excinfo.value.code == "measure.registers"


@pytest.mark.parametrize(
    ("command_line", "covers"),
    [
        (f"ro roothash={ROOT} quiet", True),
        (f"usrhash={ROOT}", True),
        (f"cc_rootfs_verity=root_hash={ROOT},salt=00", True),
        (f"cc_rootfs_verity.hash={ROOT}", True),
        (f"console=ttyS0 note={ROOT}", False),
        ("roothash=0123", False),
        (f"roothash={ROOT} systemd.unit=kata-containers.target", False),
        (f"roothash={ROOT} agent.log=debug", False),
        ("root=/dev/sda1", False),
        ("", False),
    ],
)
def test_only_a_verity_root_on_the_command_line_covers_the_disk(command_line: str, covers: bool) -> None:
    assert bool(building.covered_by(command_line, "")) is covers
    assert building.covered_by("", "an initramfs, no root").startswith("stated by the builder")


def values(covers: str) -> building.Values:
    launch = {name: (f"{number:02x}" * 48,) for number, name in enumerate(CODE_REGISTERS["tdx"])}
    return building.Values("tdx", launch, dict.fromkeys(launch, "given"), covers)


@pytest.mark.parametrize(("covers", "wanted"), [("a dm-verity root", "affirming"), ("", "appraisal.warning")])
def test_what_is_written_is_what_releases_and_policies_read(covers: str, wanted: str) -> None:
    """An env_digest counts only where the launch covers the code that computes it: else file-system is 33."""
    found = values(covers)
    table: dict[str, Any] = tomllib.loads(building.to_toml(ENV, [found]))
    stated = {"env_digest": table["env_digest"], "references": table["reference"]}
    head = {"version": "1", "signer": "did:key:z", "not_before": "2026-01-01T00:00:00Z"}
    release = msgspec.convert(head | stated, SoftwareRelease)
    check_release(release)
    assert release.references == (found.references(),)
    text = 'name = "x"\n[accept]\ntees = ["tdx"]\n[hardware]\nevaluation = 17\n' + building.to_policy(ENV, [found])
    launch = {name: value for name, (value,) in found.launch.items()}
    assert outcome(claims(launch=launch, env_digest=ENV), parse_policy(text)) == wanted


def test_a_policy_covers_the_code_only_if_all_its_measurements_do() -> None:
    assert "covers_code = true" in building.to_policy(ENV, [values("x")])
    for found in ([values("x"), values("")], []):
        assert "covers_code = false" in building.to_policy(ENV, found)


# The command ------------------------------------------------------------------------------------------


def measure(*arguments: object) -> str:
    result = CliRunner().invoke(cli.whole(), ["measure", "--env-digest", ENV, *map(str, arguments)])
    if isinstance(result.exception, CloisterError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_measures_a_build(tmp_path: Path, signer: rsa.RSAPrivateKey) -> None:
    one = vector("tdx-google-cos113-ccel")
    files = {"log": one.endorsements["event_log"], "quote": one.blob, "sig": sigstruct(signer)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    arguments = ("--tdx-log", tmp_path / "log", "--quote", tmp_path / "quote", "--sigstruct", tmp_path / "sig")
    said = measure("--out", tmp_path / "reference.toml", *arguments)
    assert "tdx: nothing says that these measurements cover the code on disk" in said
    table = tomllib.loads((tmp_path / "reference.toml").read_text())
    assert [(one["tee"], one["covers_code"]) for one in table["reference"]] == [("sgx", True), ("tdx", False)]
    assert measure().strip() == ENV
    with pytest.raises(MalformedError) as excinfo:
        measure("--tdx-log", tmp_path / "log")
    assert excinfo.value.code == "measure.quote"


def ovmf() -> bytes:
    """Return the least firmware image that a launch digest can be computed of: the tables at its end, as OVMF has them.

    Source: edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm and X64/OvmfSevMetadata.asm.
    """
    image = bytearray(4096)
    sections = [(0x800000, 0x1000, 1), (0x801000, 0x1000, 2), (0x802000, 0x1000, 3), (0x803000, 0x1000, 0x10)]
    body = b"".join(struct.pack("<III", *section) for section in sections)
    metadata = b"ASEV" + struct.pack("<III", 16 + len(body), 1, len(sections)) + body
    image[256 : 256 + len(metadata)] = metadata

    def entry(name: str, value: int) -> bytes:
        return struct.pack("<I", value) + struct.pack("<H", 22) + uuid.UUID(name).bytes_le

    table = entry("dc886566-984a-4798-a75e-5585a7bf67cc", 4096 - 256)
    table += entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", 0xFFFFFFF0)
    table += entry("7255371f-3a3b-4b04-927b-1da6efa8d454", 0x803C00)
    table += struct.pack("<H", len(table) + 18) + uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    image[4096 - 32 - len(table) : 4096 - 32] = table
    return bytes(image)


@pytest.mark.skipif(importlib.util.find_spec("sevsnpmeasure") is None, reason="sev-snp-measure is not installed")
def test_an_snp_launch_digest_is_of_firmware_kernel_initrd_command_line_and_vcpus(tmp_path: Path) -> None:
    for name, data in (("ovmf", ovmf()), ("kernel", b"kernel"), ("other", b"kernel2"), ("initrd", b"initrd")):
        (tmp_path / name).write_bytes(data)

    def launch(*changes: object, kernel: str = "kernel", append: str = f"roothash={ROOT}") -> dict[str, Any]:
        text = measure(
            "--snp", tmp_path / "ovmf", "--kernel", tmp_path / kernel, "--initrd", tmp_path / "initrd",
            "--append", append, *changes, "--out", tmp_path / "found.toml",
        )  # fmt: skip
        table = tomllib.loads((tmp_path / "found.toml").read_text())
        return {**table["reference"][0], "said": text}

    base = launch()
    assert base["tee"] == "snp"
    assert base["covers_code"] is True
    assert "sev-snp-measure" in base["found"]["measurement"]
    (digest,) = base["launch"]
    assert len(digest) == len("measurement=") + 96
    others = [launch(kernel="other"), launch(append=f"roothash={ROOT} x"), launch("--vcpus", 2)]
    assert len({digest, *(other["launch"][0] for other in others)}) == 4
    assert launch("--vcpus", 1, "--vcpus", 2)["launch"] == [digest, others[2]["launch"][0]]
    bare = launch(append="quiet")
    assert bare["covers_code"] is False
    assert "never affirm" in bare["said"]


@pytest.mark.skipif(importlib.util.find_spec("sevsnpmeasure") is None, reason="sev-snp-measure is not installed")
def test_firmware_that_measures_no_kernel_gives_no_digest(tmp_path: Path) -> None:
    (tmp_path / "ovmf").write_bytes(ovmf().replace(struct.pack("<III", 0x803000, 0x1000, 0x10), bytes(12)))
    (tmp_path / "kernel").write_bytes(b"kernel")
    with pytest.raises(MalformedError) as excinfo:
        measure("--snp", tmp_path / "ovmf", "--kernel", tmp_path / "kernel")
    assert excinfo.value.code == "measure.snp"
