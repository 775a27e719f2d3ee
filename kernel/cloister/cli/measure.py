"""``cloister measure``: reference values of a build, with how each was found."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated

import typer

from cloister.attest import building
from cloister.attest.building import Values
from cloister.cli.files import read_bytes
from cloister.errors import MalformedError, RefusedError
from cloister.terminal import Terminal

out = Terminal(emoji=False)

File = Path | None


def measure(
    output: Annotated[File, typer.Option("--out", help="Write reference values (TOML) here.")] = None,
    policy: Annotated[bool, typer.Option("--policy", help="As the [reference] section of a policy instead.")] = False,
    env_digest: Annotated[str, typer.Option(help="Of another installation; default: of the code installed here.")] = "",
    snp: Annotated[File, typer.Option(help="SEV-SNP: the OVMF image; with --kernel, --initrd, --append.")] = None,
    kernel: Annotated[File, typer.Option(help="The kernel that is started directly.")] = None,
    initrd: Annotated[File, typer.Option(help="Its initrd.")] = None,
    append: Annotated[str, typer.Option(help="Its command line, exactly.")] = "",
    vcpus: Annotated[list[int] | None, typer.Option(help="SEV-SNP: number of vCPUs; repeat for each shape.")] = None,
    vcpu_type: Annotated[str, typer.Option(help="SEV-SNP: QEMU's CPU model.")] = "EPYC-v4",
    guest_features: Annotated[int, typer.Option(help="SEV-SNP: SEV_FEATURES as a number.")] = 1,
    sigstruct: Annotated[File, typer.Option(help="SGX: the enclave's SIGSTRUCT (Gramine: NAME.sig).")] = None,
    tdx_log: Annotated[File, typer.Option(help="TDX: event log (CCEL) of a machine of yours; with --quote.")] = None,
    quote: Annotated[File, typer.Option(help="TDX or SGX: a quote of a machine of yours.")] = None,
    tpm_log: Annotated[File, typer.Option(help="vTPM: event log of a machine of yours; with --tee, --launch.")] = None,
    tee: Annotated[str, typer.Option(help="vTPM: azure-vtpm-snp or azure-vtpm-tdx.")] = "",
    launch: Annotated[list[str] | None, typer.Option(help="vTPM: NAME=VALUE of the hardware below; repeat.")] = None,
    all_in_initrd: Annotated[str, typer.Option(help="Say why kernel and initrd hold all code (no other disk).")] = "",
) -> None:
    """Print the digest of the code installed here; with a build's files, the reference values of its launch too."""
    digest = env_digest or _env_digest()
    covers = building.covered_by(append, all_in_initrd)
    found: list[Values] = []
    if snp:
        # Without a kernel the firmware measures neither a command line nor an initrd.
        found.append(
            _snp(snp, kernel, initrd, append, vcpus or [1], vcpu_type, guest_features, covers if kernel else "")
        )
    if sigstruct:
        found.append(building.of_sigstruct(read_bytes(sigstruct)))
    if tdx_log:
        if quote is None:
            raise MalformedError("measure.quote", "no log holds MRTD", next_step="--quote, of the same machine")
        found.append(building.of_event_log(read_bytes(tdx_log), read_bytes(quote), covers=covers))
    elif quote:
        found.append(building.of_mr_enclave(read_bytes(quote)))
    if tpm_log:
        hardware = dict(_pair(text) for text in launch or ())
        found.append(building.of_tpm_log(read_bytes(tpm_log), tee, hardware, covers=covers))
    if not (found or output or policy):
        _say(digest)
        return
    text = building.to_policy(digest, found) if policy else building.to_toml(digest, found)
    if output is None:
        _say(text.rstrip())
    else:
        output.write_text(text, encoding="utf-8")
        _say(f"written: {output}")
    for values in found:
        if not values.references().covers_code:
            _say(
                f"{values.tee}: nothing says that these measurements cover the code on disk; by themselves they never "
                "affirm it (a dm-verity root on the command line, or --all-in-initrd)"
            )


def _env_digest() -> str:
    from cloister.enclave.measure import measure as measured

    return measured().digest


def _snp(
    ovmf: Path, kernel: File, initrd: File, append: str, vcpus: list[int], cpu: str, features: int, covers: str
) -> Values:
    """Return the launch digest for each number of vCPUs, computed by sev-snp-measure (AMD 56860, section 8.17)."""
    try:
        guest, types = import_module("sevsnpmeasure.guest"), import_module("sevsnpmeasure.vcpu_types")
    except ModuleNotFoundError as error:
        raise RefusedError(
            "install.extra", "sev-snp-measure is not installed", next_step='pip install "cloister[measure]"'
        ) from error
    if cpu not in types.CPU_SIGS:
        raise MalformedError(
            "measure.vcpu", f"{cpu!r} is no CPU model", next_step=", ".join(sorted(types.CPU_SIGS)[:20])
        )
    files = {"OVMF": ovmf} | {name: path for name, path in (("kernel", kernel), ("initrd", initrd)) if path}
    hashes = [f"{name} (sha256 {_sha256(path)})" for name, path in files.items()]
    values = []
    for number in vcpus:
        try:
            digest = guest.snp_calc_launch_digest(
                number, types.CPU_SIGS[cpu], str(ovmf), str(kernel or ""), str(initrd or ""), append, features, ""
            )
        except Exception as error:  # boundary: the library raises whatever a file makes it
            raise MalformedError(
                "measure.snp", f"no launch digest: {error}", next_step="an OVMF for SEV-SNP with kernel hashes (AmdSev)"
            ) from error
        values.append(digest.hex())
    how = (
        f"computed by sev-snp-measure {metadata.version('sev-snp-measure')} from {', '.join(hashes)}, the command "
        f"line, SEV_FEATURES {features:#x} and {', '.join(map(str, vcpus))} vCPUs of {cpu}"
    )
    return Values("snp", {"measurement": tuple(dict.fromkeys(values))}, {"measurement": how}, covers)


def _sha256(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise MalformedError("measure.launch", f"{text!r} is not NAME=VALUE", next_step="--launch measurement=<hex>")
    return name, value


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
