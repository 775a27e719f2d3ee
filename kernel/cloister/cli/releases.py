"""``cloister release``: signed measurements of the software, kept by whoever appraises evidence."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cloister.attest import releases
from cloister.attest.references import CODE_REGISTERS, Launch
from cloister.attest.releases import SoftwareRelease
from cloister.cli.files import read_bytes
from cloister.errors import MalformedError, missing_extra
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

if TYPE_CHECKING:
    from cloister.provider.home import BrokerHome

app = typer.Typer(no_args_is_help=True, help="Releases of the software: signed measurements that contracts rely on.")
out = Terminal(emoji=False)
_MEASUREMENT = re.compile(r"(?P<tee>[a-z0-9-]+):(?P<name>[a-z0-9_]+)=(?P<value>[0-9A-Za-z:]+)")

ReleaseFile = Annotated[Path, typer.Argument(help="The signed release.")]


@app.command("sign")
def sign(
    reference: Annotated[
        Path, typer.Argument(help="Reference values (TOML), as `cloister measure --out` writes them.")
    ],
    version: Annotated[str, typer.Option(help="The version, such as 1.4.2.")],
    key: Annotated[Path, typer.Option(help="The signer's key file (`cloister identity` makes one).")],
    output: Annotated[Path, typer.Option("--out", help="Where to write the signed release.")],
    not_before: Annotated[str, typer.Option(help="From when it counts (RFC 3339 UTC); default: now.")] = "",
    policy: Annotated[list[Path] | None, typer.Option(help="A policy it is made for; repeat. None: any.")] = None,
) -> None:
    """Sign reference values as a release of the software."""
    fields = _toml(reference)
    stated = {"env_digest": fields.get("env_digest"), "references": fields.get("reference", [])}
    signer = _key(key)
    head = {"version": version, "signer": signer.did, "not_before": not_before or _now()}
    try:
        release = msgspec.convert(
            head | stated | {"policies": [_digest(path) for path in policy or ()]}, SoftwareRelease
        )
    except msgspec.ValidationError as error:
        raise MalformedError(
            "release.malformed", f"{reference}: {error}", next_step="cloister measure --out"
        ) from error
    document = releases.sign_release(release, signer)
    output.write_bytes(canonical.encode(document))
    _show(document, release)
    _say(f"written: {output}")


@app.command("verify")
def verify(
    release: ReleaseFile,
    signer: Annotated[
        list[str] | None, typer.Option(help="A did that may sign; repeat. None: whoever it names.")
    ] = None,
) -> None:
    """Check a release's signature and print it; whether it counts is decided by each contract."""
    document = _document(release)
    _show(document, releases.open_release(document, tuple(signer or ())))
    if not signer:
        _say("the signature is the named signer's; who that is, you have to know (--signer)")


@app.command("add")
def add(
    release: ReleaseFile,
    broker: Annotated[Path | None, typer.Option(help="A broker's directory; default: your trust store.")] = None,
) -> None:
    """Keep a release where evidence is appraised: at a broker, or in your trust store."""
    document = _document(release)
    if broker is None:
        from cloister.analyst.trust import TrustStore

        _say(f"kept: {TrustStore().add_release(document)}")
        return
    found = _software().add(_home(broker), document)
    _record(broker, "release.add", document, found, "")
    _say(f"kept: {releases.digest_of(document)}, version {found.version}")


@app.command("veto")
def veto(
    broker: Annotated[Path, typer.Argument(help="The broker's directory.")],
    release: Annotated[
        str, typer.Argument(help="The release: a file, or a digest or version this broker was given.")
    ] = "",
    measurement: Annotated[
        list[str] | None,
        typer.Option(help="TEE:NAME=VALUE of a launch instead, such as snp:measurement=...; of several all must hold."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Shown to whoever is refused.")] = "",
) -> None:
    """Refuse the code of a release and every launch it is measured in, for good: new sessions, and vaults that run."""
    software, home, said = _software(), _home(broker), reason[:200]
    if bool(release) == bool(measurement):
        raise MalformedError(
            "release.unknown",
            "one of two has to be named: a release, or measurements",
            next_step="cloister release veto BROKER RELEASE, or --measurement",
        )
    # Stopped first, told afterwards: a log that cannot be written must not keep anybody from stopping.
    if measurement:
        launches, version = (_launch(measurement),), ""
        software.veto_launch(home, launches[0], software.Veto(version, _now(), said))
    else:
        document = software.find(home, release)
        found = software.veto(home, document, now=_now(), reason=said)
        launches, version = software.launches_of(found), found.version
        _record(broker, "release.veto", document, found, reason)
        _say(f"vetoed: version {version}, code {found.env_digest}")
    for launch in launches:
        told = canonical.encode(launch).decode()
        _tell(broker, op="release.veto-launch", subject=told, status=version, reason=said)
        _say(f"vetoed: {launch.tee}, {' '.join(launch.measurements)}")


@app.command("least")
def least(
    broker: Annotated[Path, typer.Argument(help="The broker's directory.")],
    contract: Annotated[str, typer.Argument(help="The contract's digest.")],
    version: Annotated[str, typer.Argument(help="Nothing below it is admitted from now on.")],
) -> None:
    """Say the least version for a contract at this broker, as a recovery asks for where it burnt a gap."""
    home = _home(broker)
    known = home.contracts.get(contract)
    if known is None or known.contract.signed_software is None:
        raise MalformedError(
            "release.unknown",
            f"no contract {contract} with a clause on software is on file here",
            next_step="cloister broker contracts",
        )
    _software().least(home, contract, version)
    _tell(broker, op="release.least", contract=contract, status=version)
    _say(f"{contract}: nothing below {version}")


def _show(document: Envelope, release: SoftwareRelease) -> None:
    _say(f"release {release.version}, {releases.digest_of(document)}")
    _say(f"signed by {release.signer}; counts from {release.not_before}")
    _say(f"env_digest {release.env_digest}")
    for one in release.references:
        covers = "covers the code on disk" if one.covers_code else "does not cover the code on disk: never affirming"
        _say(f"{one.tee}: {', '.join(one.launch)} ({covers})")
    _say("for policies " + (", ".join(release.policies) or "of anybody"))


def _record(broker: Path, op: str, document: Envelope, release: SoftwareRelease, reason: str) -> None:
    # A veto is of the code, whatever document lists it: that is what a recovered broker must know.
    subject = release.env_digest if op == "release.veto" else releases.digest_of(document)
    _tell(broker, op=op, subject=subject, status=release.version, reason=reason[:200])


def _tell(broker: Path, **fields: Any) -> None:
    from cloister.receipt.events import Event

    _home(broker).record(Event("decision", _now(), actor="owner", **fields))


def _launch(texts: list[str]) -> Launch:
    """Return the launch of these measurements; a veto of what no evidence reports would stop nothing."""
    found = [_MEASUREMENT.fullmatch(text) for text in texts]
    tees = {"" if one is None else one["tee"] for one in found}
    tee = tees.pop() if len(tees) == 1 else ""
    names = CODE_REGISTERS.get(tee, ())
    if not all(one is not None and one["name"] in names for one in found):
        raise MalformedError(
            "release.measurement",
            "not measurements of one TEE that cover its code",
            next_step=f"{tee}: {', '.join(names)}" if names else f"TEE:NAME=VALUE, TEE: {', '.join(CODE_REGISTERS)}",
        )
    return Launch(tee, tuple(sorted(f"{one['name']}={one['value']}" for one in found if one is not None)))


def _home(directory: Path) -> BrokerHome:
    try:
        from cloister.provider.home import BrokerHome
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "sqlalchemy") from error
    home = BrokerHome(directory)
    home.identity()
    return home


def _software() -> Any:
    try:
        from cloister.provider import software
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "sqlalchemy") from error
    return software


def _key(path: Path) -> Any:
    from cloister.provider.keys import load_identity

    return load_identity(path)


def _document(path: Path) -> Envelope:
    try:
        return msgspec.json.decode(read_bytes(path), type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("release.file", f"{path} is no signed release", next_step="check the path") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MalformedError("release.malformed", f"{path}: {error}", next_step="cloister measure --out") from error


def _digest(path: Path) -> str:
    return canonical.digest_bytes(read_bytes(path))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
