"""Reference values: which measurements of a launch must be approved before its code counts as known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import msgspec

# Firmware and option ROMs (0, 2), boot manager (4), keys of secure boot (7), boot loader's commands and files, kernel
# and initrd among them (8, 9), unified kernel, command line and extensions (11 to 13), keys of shim (14).
# TCG PC Client Platform Firmware Profile, section 3.3.4; UAPI Group, "Linux TPM PCR Registry".
_BOOT = tuple(f"pcr{number}" for number in (0, 2, 4, 7, 8, 9, 11, 12, 13, 14))

CODE_REGISTERS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "sgx": ("mr_enclave",),
    # Firmware; what the host configures it with (ACPI tables hold code that the kernel runs; keys of secure boot); boot
    # loader and kernel; command line and initrd.
    "tdx": ("mr_td", "rtmr0", "rtmr1", "rtmr2"),
    "snp": ("measurement",),
    "nitro": ("pcr0", "pcr1", "pcr2"),
    # Realm image; what it extended while it started.
    "cca": ("rim", "rem0", "rem1", "rem2", "rem3"),
    "gcp-oidc": ("image_digest",),
    # The hardware measures the paravisor alone; what it boots is in the registers of its vTPM.
    "azure-vtpm-snp": ("measurement", *_BOOT),
    "azure-vtpm-tdx": ("mr_td", *_BOOT),
})  # fmt: skip
"""By TEE, the measurements that together cover what was started. The code of a TEE that is not listed is never known:
whoever makes the evidence could choose which measurements it shows."""

SELF_MEASURING = frozenset({"sgx"})
"""TEEs whose launch measurement covers every file that runs (MRENCLAVE covers Gramine's manifest and its hashes)."""

COMPONENTS = frozenset({"nvidia-gpu"})
"""Devices that attest to themselves beside a machine that attests to the code: none of them hosts an enclave."""

_QUALIFIED = frozenset({"azure-vtpm-snp", "azure-vtpm-tdx"})


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A launch that somebody refuses: measurements (``name=value``) of a TEE, several values of one name: any of them.

    It is the launch of evidence that reports one of the values for every name.
    """

    tee: str
    measurements: tuple[str, ...]

    def is_of(self, tee: str, launch: Mapping[str, str]) -> bool:
        """Whether evidence of a TEE with these launch measurements is of this launch."""
        wanted = [text.partition("=") for text in self.measurements]
        names = {name for name, _, _ in wanted}
        reported = {(name, launch.get(name, "").lower()) for name in names}
        return self.tee == tee and bool(names) and reported <= {(name, value.lower()) for name, _, value in wanted}


def launch_of(tee: str, stated: Collection[str]) -> Launch:
    """Return the launch that references (``name=value`` or ``tee:name=value``) describe: what covers the code of it.

    Without the other measurements, which whoever starts an enclave can choose freely: the same code with another one of
    them is the same launch.
    """
    found = []
    for text in stated:
        name, _, value = text.partition("=")
        if (bare := name.rpartition(":")[2]) in CODE_REGISTERS.get(tee, ()):
            found.append(f"{bare}={value}")
    return Launch(tee, tuple(sorted(found)))


def spellings(tee: str, name: str, value: str) -> tuple[str, ...]:
    """Return how a policy may name a measurement: ``tee:name=value``, and ``name=value`` where the name is the TEE's.

    A vTPM shares its names with other TEEs and says them with its own: a paravisor's measurement that is approved for
    Azure says nothing of what runs above it, and must not approve a guest that reports it as its whole.
    """
    bare = f"{name}={value}"
    return (f"{tee}:{bare}",) if tee in _QUALIFIED else (f"{tee}:{bare}", bare)


def covered(tee: str, launch: Mapping[str, str], approved: Collection[str]) -> bool:
    """Return whether every measurement that covers the code is approved (``spellings``).

    Values are approved one by one, so two approved firmwares and two approved kernels make four approved launches.
    """
    registers = CODE_REGISTERS.get(tee, ())
    return bool(registers) and all(
        name in launch and any(text in approved for text in spellings(tee, name, launch[name])) for name in registers
    )
