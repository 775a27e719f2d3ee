"""``cloister endorse``: a bundle of what vendors say of hardware, kept by whoever appraises evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloister.attest import endorsements
from cloister.attest.endorsements import Endorsements, Entry, Kind
from cloister.cli.files import MAX_FILE, read_bytes
from cloister.errors import TrustError, UnavailableError, missing_extra
from cloister.terminal import Terminal
from cloister.wire import canonical

out = Terminal(emoji=False)


def endorse(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle; default: your trust store's. A broker's: DIR/endorsements.json.")
    ] = None,
    collateral: Annotated[list[Path] | None, typer.Option(help="Intel's collateral of one platform (JSON).")] = None,
    vek: Annotated[list[Path] | None, typer.Option(help="AMD's VCEK or VLEK certificate (DER).")] = None,
    jwks: Annotated[Path | None, typer.Option(help="The key set you trust for Confidential Space (JSON).")] = None,
    iak: Annotated[Path | None, typer.Option(help="The platform key you trust for Arm CCA (PEM).")] = None,
    fetch_vek: Annotated[
        list[str] | None,
        typer.Option(help="A URL of AMD's KDS to fetch a VCEK from (https://kdsintf.amd.com/vcek/...)."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let a key set take the place of another.")] = False,
    at: Annotated[datetime | None, typer.Option(help="UTC time to check at; default: now.")] = None,
) -> None:
    """Keep what vendors say of hardware in a file of your own, checked; nothing in it ever goes back."""
    if bundle is None:
        from cloister.analyst.trust import TrustStore

        bundle = TrustStore().endorsements_file
    now = at.replace(tzinfo=at.tzinfo or UTC) if at else datetime.now(UTC)
    given: list[tuple[Kind, bytes]] = [("collateral", read_bytes(path)) for path in collateral or ()]
    given += [("vek", read_bytes(path)) for path in vek or ()]
    given += [("vek", _fetch(url)) for url in fetch_vek or ()]
    given += [(kind, read_bytes(path)) for kind, path in (("jwks", jwks), ("iak", iak)) if path]  # type: ignore[misc]
    held = _held(bundle)
    added = [endorsements.read_entry(kind, data, now) for kind, data in given]
    for entry in added:
        held = endorsements.add(held, entry, replace=replace)
    if given:
        _write(bundle, held)
        _record(bundle, added)
    for entry in held.entries:
        _say(_line(entry))
    _say(f"{'written' if given else 'held'}: {bundle}")


def _line(entry: Entry) -> str:
    marks = ", ".join(f"{name} {mark}" for name, mark in sorted(entry.marks.items()) if "Number" in name)
    until = f", until {entry.until}" if entry.until else ""
    return f"{entry.kind} {entry.subject[:60]}{until}{f' ({marks})' if marks else ''}"


def _record(bundle: Path, added: list[Entry]) -> None:
    """Tell a broker's event log what its bundle holds, so that a restored broker knows what it held."""
    if bundle.name != "endorsements.json" or not (bundle.parent / "broker.key").exists():
        return
    try:
        from cloister.provider.home import BrokerHome
        from cloister.receipt.events import Event
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "sqlalchemy") from error
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = [canonical.encode(endorsements.floor_of(entry)).decode() for entry in added]
    BrokerHome(bundle.parent).record(
        *(Event("decision", time, actor="owner", op="endorse", subject=text) for text in told)
    )


def _held(path: Path) -> Endorsements:
    return endorsements.parse(read_bytes(path, endorsements.MAX_BUNDLE)) if path.exists() else Endorsements()


def _write(path: Path, bundle: Endorsements) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(canonical.encode(bundle))
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError("endorsements.file", f"{path} cannot be written ({error.strerror})") from error


def _fetch(url: str) -> bytes:
    """Return what a vendor's service answers: it is checked like a file, whoever answered."""
    import urllib.request

    if not url.startswith("https://kdsintf.amd.com/"):
        raise TrustError(
            "endorsements.url", f"{url!r} is not of AMD's service", next_step="download it, and give the file"
        )
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (https only, checked above)
            data: bytes = answer.read(MAX_FILE + 1)
    except OSError as error:
        raise UnavailableError("endorsements.fetch", f"{url}: {error}", next_step="download it elsewhere") from error
    return data


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
