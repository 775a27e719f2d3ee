"""Reference values: which measurements of a launch must be approved before its code counts as known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

CODE_REGISTERS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "sgx": ("mr_enclave",),
    # Firmware; boot loader and kernel; command line and initrd.
    "tdx": ("mr_td", "rtmr1", "rtmr2"),
    "snp": ("measurement",),
    "nitro": ("pcr0", "pcr1", "pcr2"),
})  # fmt: skip
"""By TEE, the measurements that together cover what was started. A TEE that is not listed must have all approved."""

SELF_MEASURING = frozenset({"sgx"})
"""TEEs whose launch measurement covers every file that runs (MRENCLAVE covers Gramine's manifest and its hashes)."""


def covered(tee: str, launch: Mapping[str, str], approved: Collection[str]) -> bool:
    """Return whether every measurement that covers the code is approved, as ``name=value``.

    Values are approved one by one, so two approved firmwares and two approved kernels make four approved launches.
    """
    registers = CODE_REGISTERS.get(tee, tuple(launch))
    return bool(registers) and all(name in launch and f"{name}={launch[name]}" in approved for name in registers)
