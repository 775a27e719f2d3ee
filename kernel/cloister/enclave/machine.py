"""Whether this machine looks like the inside of a TEE: processor flags, firmware tables and devices, nothing else.

What is found here is never evidence. It only keeps a simulator from speaking where hardware should: a machine that
looks like a TEE and has no attester that works is an error, because evidence that quietly changes its kind is how a
downgrade looks. A machine that can only *host* enclaves (``/dev/sgx_enclave``, an SNP host) is not inside one.

Sources: Linux ``arch/x86/include/asm/cpufeatures.h`` (flags), ACPI 6.5 section 5.2.34 (CCEL), Linux
``drivers/virt/coco`` (devices), Microsoft's asset tag of virtual machines on Azure.
"""

from __future__ import annotations

from pathlib import Path

_DEVICES = (
    ("/dev/nsm", "the Nitro security module"),
    ("/dev/attestation", "Gramine's attestation files"),
    ("/dev/tdx_guest", "the device of a TDX guest"),
    ("/dev/sev-guest", "the device of an SEV-SNP guest"),
    ("/sys/firmware/acpi/tables/CCEL", "the event log of a confidential virtual machine"),
    ("/sys/devices/platform/arm-cca-dev", "the device of an Arm CCA realm"),
    ("/sys/devices/faux/arm-rsi-dev", "the device of an Arm CCA realm"),
    ("/sys/kernel/security/secrets/coco", "secrets that a launch injected"),
    ("/run/container_launcher/teeserver.sock", "the launcher of Google's Confidential Space"),
)
DEVICES: tuple[str, ...] = tuple(path for path, _ in _DEVICES)
_AZURE = "7783-7084-3265-9085-8269-3286-77"
_TPMS = ("/dev/tpm0", "/dev/tpmrm0")


def looks_like_tee(root: Path = Path("/")) -> str:
    """Return what makes this machine look like the inside of a TEE, in words; "" if nothing does.

    ``root`` is where the machine's ``/proc``, ``/sys`` and ``/dev`` are (tests look elsewhere).
    """
    for path, what in _DEVICES:
        if (root / path[1:]).exists():
            return f"{path}, {what}"
    flags = _flags(root)
    if "tdx_guest" in flags:
        return "the processor flag tdx_guest"
    # A host has the flag too; only a guest runs under a hypervisor.
    if {"sev_snp", "hypervisor"} <= flags:
        return "the processor flag sev_snp under a hypervisor"
    if _text(root / "sys/firmware/uv/prot_virt_guest") == "1":
        return "the mark of an IBM Secure Execution guest"
    # Azure's paravisor hides the hardware's flags; its confidential machines show a TPM like others that have one.
    on_azure = _text(root / "sys/class/dmi/id/chassis_asset_tag") == _AZURE
    if on_azure and any((root / path[1:]).exists() for path in _TPMS):
        return "a virtual machine on Azure with a TPM, which may be a confidential one"
    return ""


def _flags(root: Path) -> set[str]:
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return set(value.split())
    return set()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
