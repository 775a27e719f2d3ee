"""Reference values of a build, found before anything runs: read from what its tools sign or record, or replayed. Pure.

Each value says how it was found. Nothing here is evidence: a wrong file gives values that no machine will report.
SEV-SNP launch digests need the firmware's own layout and are computed by a library (``cloister measure --snp``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from cloister.attest.evidence import RejectedError
from cloister.attest.references import CODE_REGISTERS, SELF_MEASURING, spellings
from cloister.attest.releases import References
from cloister.attest.tee import ccel, dcap, sgx_report, tcg_log, tdx, tdx_report
from cloister.errors import MalformedError

# Intel SDM, volume 3D, section 39.13 (SIGSTRUCT): sizes and offsets in bytes.
_SIGSTRUCT_BYTES = 1808
_HEADER = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
_DEBUG = 0x02
# Of the parameters by which a kernel is told the root of dm-verity (systemd-veritysetup-generator(8), CoCo).
_STARTS_CONTAINERS = re.compile(r"kata|(?:^|\s)agent\.")
_VERITY = re.compile(r"(?:^|[ ,])(?:roothash|usrhash|root_hash|[a-z._]*verity[a-z._]*)=\S*?([0-9a-f]{64})\b")
_SHA256_BANK = 0x000B


class Values(msgspec.Struct, frozen=True):
    """Measurements of one TEE, ``found`` by name, and why they cover the code on disk ("" if they do not).

    A name has several values where machines of different shapes report different ones.
    """

    tee: str
    launch: Mapping[str, tuple[str, ...]]
    found: Mapping[str, str]
    covers: str = ""

    def references(self) -> References:
        """Return them as a release states them."""
        covers = bool(self.covers) or self.tee in SELF_MEASURING
        found = dict(self.found) | ({"covers_code": self.covers} if self.covers else {})
        launch = tuple(f"{name}={value}" for name, values in self.launch.items() for value in values)
        return References(self.tee, launch, covers_code=covers, found=found)

    def lines(self) -> tuple[str, ...]:
        """Return them as a policy lists them under ``reference.launch``."""
        return tuple(spellings(self.tee, name, value)[-1] for name, values in self.launch.items() for value in values)


def of_sigstruct(data: bytes) -> Values:
    """Return MRENCLAVE as an enclave's signer signed it.

    Raises:
        MalformedError: ``measure.sigstruct``: not a SIGSTRUCT, not signed by its key, or of an enclave for debugging.
    """
    if len(data) != _SIGSTRUCT_BYTES or data[:16] != _HEADER or data[24:40] != _HEADER2:
        raise _bad("sigstruct", "this file is no SIGSTRUCT (1,808 bytes; Gramine writes NAME.sig)")
    modulus = int.from_bytes(data[128:512], "little")
    exponent, signature = int.from_bytes(data[512:516], "little"), data[516:900][::-1]
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        key.verify(signature, data[:128] + data[900:1028], padding.PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError) as error:
        raise _bad("sigstruct", "the SIGSTRUCT is not signed by the key in it") from error
    if data[928] & _DEBUG:
        raise _bad("sigstruct", "the SIGSTRUCT is of an enclave for debugging")
    signer = hashlib.sha256(data[128:512]).hexdigest()
    how = f"read from a SIGSTRUCT signed by mr_signer {signer}"
    return Values("sgx", {"mr_enclave": (data[960:992].hex(),)}, {"mr_enclave": how})


def of_event_log(log: bytes, quote: bytes, *, covers: str = "") -> Values:
    """Return a trust domain's registers: RTMR0 to RTMR2 replayed from its event log, MRTD read from a quote.

    The quote's registers must be those of the log. Its signatures are not checked: a build is measured on a machine of
    one's own, and values that no genuine machine reports approve nothing.

    Raises:
        RejectedError: The log or the quote cannot be read, or they are of two different launches.
    """
    at, header = dcap.open_quote(quote)
    if header.tee_type != dcap.TDX_TEE:
        raise RejectedError("evidence.format", "not a quote of a trust domain")
    report = tdx_report.parse(tdx.read_body(at, header))
    events = ccel.check(log, report.rtmr)
    replayed = ccel.replay(ccel.parse(log))
    launch = {"mr_td": (report.mr_td.hex(),)} | {f"rtmr{n}": (replayed[n].hex(),) for n in range(3)}
    found = {f"rtmr{n}": f"replayed from {events} events of a TCG log (sha256 {_sha256(log)})" for n in range(3)}
    return Values("tdx", launch, {"mr_td": f"read from a quote (sha256 {_sha256(quote)})", **found}, covers)


def of_mr_enclave(quote: bytes) -> Values:
    """Return MRENCLAVE as a quote of one's own machine reports it.

    Raises:
        RejectedError: Not an SGX quote.
    """
    at, header = dcap.open_quote(quote)
    if header.version != 3 or header.tee_type == dcap.TDX_TEE:
        raise RejectedError("evidence.format", "not an SGX quote of version 3")
    report = sgx_report.parse(at.take(sgx_report.SIZE))
    if report.debug:
        raise _bad("quote", "the quote is of an enclave for debugging")
    return Values(
        "sgx",
        {"mr_enclave": (report.mr_enclave.hex(),)},
        {"mr_enclave": f"read from a quote (sha256 {_sha256(quote)})"},
    )


def of_tpm_log(log: bytes, tee: str, hardware: Mapping[str, str], *, covers: str = "") -> Values:
    """Return the registers of a vTPM that cover the code, replayed from its event log (SHA-256 bank).

    ``hardware`` are the measurements of the machine below the vTPM (``measurement`` or ``mr_td``), which no log holds.

    Raises:
        RejectedError: The log cannot be read.
        MalformedError: ``measure.registers``: it says nothing of a register that covers the code, or ``hardware`` does.
    """
    wanted = CODE_REGISTERS.get(tee, ())
    replayed = tcg_log.replay(tcg_log.parse(log), _SHA256_BANK)
    launch = {name: (value,) for name, value in hardware.items()}
    for name in wanted:
        if name.startswith("pcr"):
            # A register that no event extended is zero on every machine that started this way.
            launch[name] = (replayed.get(int(name[3:]), bytes(32)).hex(),)
    if not any(name.startswith("pcr") for name in wanted):
        raise _bad("registers", f"{tee or 'no TEE given'}: no TEE whose code is in the registers of a vTPM")
    if missing := [name for name in wanted if name not in launch]:
        raise _bad("registers", f"{tee}: {', '.join(missing)} must be given as well, no log holds it")
    how = f"replayed from a TCG log (sha256 {_sha256(log)})"
    found = {name: "given" if name in hardware else how for name in launch}
    return Values(tee, launch, found, covers)


def covered_by(command_line: str, all_in_initrd: str) -> str:
    """Return why a measured kernel and initrd cover the code on disk, "" if nothing says so.

    A dm-verity root on the measured command line fixes every block of the file system; an initrd that holds everything
    fixes it by itself, which only its builder knows (``all_in_initrd``: their word).
    """
    if _STARTS_CONTAINERS.search(command_line):
        # Kata's guest: the root fixes its own system, and the host then names the container that is started in it.
        return ""
    if found := _VERITY.search(command_line):
        return f"the measured command line holds the dm-verity root {found[1]}"
    return f"stated by the builder: {all_in_initrd}" if all_in_initrd else ""


def to_toml(env_digest: str, found: Iterable[Values]) -> str:
    """Return reference values as TOML: what ``cloister release sign`` reads."""
    lines = [f'env_digest = "{env_digest}"']
    for values in found:
        stated = values.references()
        lines += ["", "[[reference]]", f"tee = {_quoted(stated.tee)}", f"launch = [{_listed(stated.launch)}]"]
        lines += [f"covers_code = {str(stated.covers_code).lower()}", "[reference.found]"]
        lines += [f"{name} = {_quoted(how)}" for name, how in stated.found.items()]
    return "\n".join(lines) + "\n"


def to_policy(env_digest: str, found: Iterable[Values]) -> str:
    """Return the ``[reference]`` section of a policy: one that covers the code only if all of its measurements do."""
    listed = tuple(found)
    covers = bool(listed) and all(values.references().covers_code for values in listed)
    launch = _listed(line for values in listed for line in values.lines())
    head = f"[reference]\nenv_digest = [{_quoted(env_digest)}]\n"
    return f"{head}launch = [{launch}]\ncovers_code = {str(covers).lower()}\n"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(_quoted(text) for text in texts)


def _quoted(text: str) -> str:
    # A JSON string without non-ASCII is also a TOML basic string.
    return msgspec.json.encode(text).decode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bad(what: str, reason: str) -> MalformedError:
    return MalformedError(f"measure.{what}", reason, next_step="docs/evidence.md, section Reference values of a build")
