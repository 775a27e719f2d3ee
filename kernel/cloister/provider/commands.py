"""The provider's commands: ``cloister identity|card|seal|contract|broker|account``; the work is done beside."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from cloister.contract import capsule, lint, signing, words
from cloister.contract.card import Card
from cloister.contract.findings import Finding, parse_time
from cloister.contract.states import Decision
from cloister.contract.terms import Broker, Party
from cloister.errors import ContractError, MalformedError, RefusedError
from cloister.provider import contracts
from cloister.provider.home import BrokerHome, existing
from cloister.provider.keys import create_identity, load_identity
from cloister.provider.parents import MANIFEST_FILE, card_file, read_parent
from cloister.receipt.events import Event
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

if TYPE_CHECKING:
    from cloister.provider.readers import Database

card_app = typer.Typer(no_args_is_help=True, help="Data cards: what you declare about a table.")
contract_app = typer.Typer(no_args_is_help=True, help="Contracts: draft, lint, sign, show, compare.")
broker_app = typer.Typer(no_args_is_help=True, help="Your broker: keys, contracts and accounts.")
out = Terminal(emoji=False)

KeyFile = Annotated[Path, typer.Option("--key", help="Your key file (made by `cloister identity`).")]
BrokerDir = Annotated[Path, typer.Argument(help="The broker's directory.", callback=existing)]


def identity(path: Annotated[Path, typer.Argument(help="Key file; made if it does not exist (mode 0600).")]) -> None:
    """Print the did of a key, making the key first if needed."""
    _say(create_identity(path).did)


def seal(  # noqa: PLR0917 (a command line)
    card: Annotated[Path, typer.Argument(help="The card (JSON).")],
    data: Annotated[
        str, typer.Argument(help="CSV or Parquet, sqlite:///FILE or postgresql://USER@HOST/NAME.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--out", help="The capsule's directory; must not exist.")],
    key: KeyFile,
    broker: Annotated[Path, typer.Option("--broker", help="The broker's directory that shall keep the data key.")],
    parents: Annotated[
        list[str] | None,
        typer.Option("--from", help="A capsule it was made from: DIR, or DIR=column,column if only these were used."),
    ] = None,
    salt: Annotated[
        Path | None, typer.Option("--hash-keys", help="Seal unit keys as hashes under the salt in this file.")
    ] = None,
    table: Annotated[str, typer.Option(help="The table of a database to read.")] = "",
    query: Annotated[str, typer.Option(help="A SELECT to read from a database, instead of a table.")] = "",
    also: Annotated[
        list[str] | None, typer.Option("--also", help="CARD=DATA: another table for the same capsule.")
    ] = None,
    apart: Annotated[
        list[str] | None,
        typer.Option("--apart", help="Columns (a,b) with a key of their own: who may not use them never gets it."),
    ] = None,
    retain_until: Annotated[
        str, typer.Option(help="When the broker destroys the key (2027-12-31T00:00:00Z); default: no time.")
    ] = "",
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="De-identify first, by this recipe (TOML); the manifest says how.")
    ] = None,
    secret: Annotated[
        Path | None, typer.Option("--secret", help="The secret file of the recipe's pseudonyms; it stays with you.")
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(
            "--quality", help="Publish the figures that `cloister quality --published` wrote, in the manifest."
        ),
    ] = None,
) -> None:
    """Encrypt tables under their cards, on this machine; the data key goes to your broker only."""
    from cloister.provider import hashed_keys, readers
    from cloister.provider import seal as sealing
    from cloister.provider.deidentify import commands as deidentify_commands
    from cloister.provider.quality import published

    home = BrokerHome(broker)
    home.identity()
    until = _time(retain_until)
    sources = [(_card(card), readers.source(data, table, query)), *map(_also, also or ())]
    made_from = [read_parent(text) for text in parents or ()]
    shared = None if salt is None else hashed_keys.read_salt(salt)
    groups = [[name.strip() for name in text.split(",")] for text in apart or ()]
    done = sealing.seal_tables(
        sources, output, load_identity(key), parents=made_from, salt=shared, apart=groups,
        recipe=deidentify_commands.load(recipe, secret), quality=published.read(quality),
    )  # fmt: skip
    home.add_capsule(done, retain_until=until)
    _say(f"capsule {done.directory}\nmanifest {done.manifest_digest}")
    for one in done.tables:
        _say(f"card {one.digest}" + (f" {one.card.name}" if len(done.tables) > 1 else ""))
    _say("For your eyes only (nothing of this leaves your machine):")
    for one in done.tables:
        out.print_json(msgspec.json.encode(one.report).decode())
    deidentify_commands.show(done.anonymity)


def _time(text: str) -> str:
    if text:
        parse_time(text)
    return text


def _also(text: str) -> tuple[Card, str | Database]:
    from cloister.provider import readers

    card, _, data = text.partition("=")
    return _card(Path(card)), readers.source(data)


@card_app.command("suggest")
def card_suggest(
    data: Annotated[str, typer.Argument(help="CSV or Parquet, or a database's table (as for `cloister seal`).")],
    name: Annotated[str, typer.Option(help="The table's name, such as clinic.visits.")],
    output: Annotated[Path | None, typer.Option("--out", help="Where to write the card.")] = None,
    look: Annotated[
        bool, typer.Option("--look-at-values", help="Also read bounds and categories off the data: this reveals them.")
    ] = False,
    look_at: Annotated[
        list[str] | None, typer.Option("--look-at", help="Read this column's, even if it does not look public.")
    ] = None,
) -> None:
    """Propose a card from names, types and public ranges (and from values only if you say so).

    Each guess is told with its reason, and marked TODO in the card: it lints only when you have confirmed or corrected
    every one. How texts look (a phone number, a card's) can raise a tier; no value is written into the card.
    """
    from cloister.provider import cards

    found = cards.suggest(data, name, look_at_values=look, look_at=look_at or ())
    text = msgspec.json.format(msgspec.json.encode(found.card), indent=1).decode()
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    else:
        _say(text)
    for column in found.card.columns:
        said = [guess.text for guess in found.guesses if guess.column == column.name and not guess.open]
        told = "; ".join(text for text in said if not text.startswith(cards.DISCLOSURE))
        out.print(f"guess:     {column.name}: {told}", markup=False, highlight=False)
    for point in found.open_points:
        out.print(f"to decide: {point}", style="yellow", markup=False)
    for point in found.reveals:
        out.print(f"reveals:   {point}", style="red", markup=False)


@card_app.command("lint")
def card_lint(card: Annotated[Path, typer.Argument(help="The card (JSON).")]) -> None:
    """Check a card; exit code 1 if it has errors."""
    _report(lint.card_findings(_card(card)))


@contract_app.command("draft")
def contract_draft(
    spec: Annotated[
        Path,
        typer.Argument(help="TOML: parties, brokers, capsules, terms with limits. docs/provider.md has one."),
    ],
    output: Annotated[Path, typer.Option("--out", help="Where to write the unsigned contract.")],
) -> None:
    """Build a contract from capsules and terms; digests and populations come from the capsules themselves."""
    contract = _draft(spec)
    output.write_bytes(canonical.encode(signing.sign_contract(contract)))
    _say(words.in_words(contract))
    _say(f"written: {output}; every party now signs it with `cloister contract sign`")


@contract_app.command("lint")
def contract_lint(contract: Annotated[Path, typer.Argument()]) -> None:
    """Check a contract; exit code 1 if it has errors."""
    _report(lint.contract_findings(signing.read_unverified(_contract(contract))))


@contract_app.command("sign")
def contract_sign(contract: Annotated[Path, typer.Argument()], key: KeyFile) -> None:
    """Add your signature to a contract that lints."""
    document = contracts.sign(_contract(contract), load_identity(key))
    contract.write_bytes(canonical.encode(document))
    missing = signing.missing_signers(document)
    _say("signed by everybody" if not missing else "still to sign: " + ", ".join(missing))


@broker_app.command("init")
def broker_init(
    directory: Annotated[Path, typer.Argument(help="The broker's directory.")],
    policy: Annotated[Path, typer.Option(help="TOML: which enclaves this broker admits.")],
) -> None:
    """Make a broker's directory: its key and its policy."""
    home = BrokerHome.create(directory, policy.read_text(encoding="utf-8"))
    _say(f"did {home.identity().did}\npolicy {home.policy()[1]}")


@broker_app.command("serve")
def broker_serve(
    directory: BrokerDir,
    host: Annotated[str, typer.Option(help="Address to listen on; default: this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free port.")] = 8701,
    metrics: Annotated[
        str, typer.Option("--metrics-listen", help="HOST:PORT that serves metrics and nothing else (127.0.0.1:9701).")
    ] = "",
) -> None:
    """Serve keys and accounts until stopped."""
    from cloister.provider.__main__ import main

    options = ["--home", str(directory), "--host", host, "--port", str(port)]
    raise typer.Exit(main([*options, "--metrics-listen", metrics] if metrics else options))


@broker_app.command("add")
def broker_add(directory: BrokerDir, contract: Annotated[Path, typer.Argument()]) -> None:
    """Register a contract that everybody signed; it is active from now on."""
    home, document = BrokerHome(directory), _contract(contract)
    digest = home.add_contract(document, now=_now())
    told = [Event("decision", _now(), actor="owner", contract=digest, op="contract.add", status="active")]
    former = signing.read_unverified(document).former
    if former and (ended := home.contracts.get(former)) is not None and ended.state(_now()) == "revoked":
        # A restored broker without the amendment must not go on with what it took the place of.
        said: dict[str, Any] = {"status": "revoked", "reason": f"amended by {digest}"}
        told.append(Event("decision", _now(), actor="owner", contract=former, op="contract.decide", **said))
    home.record(*told)
    _say(digest)


@broker_app.command("contracts")
def broker_contracts(directory: BrokerDir) -> None:
    """List the contracts and their states."""
    registry = BrokerHome(directory).contracts
    for digest in registry.digests():
        known = registry.get(digest)
        _say(f"{digest}  {known.state(_now()) if known else 'unreadable'}  {known.contract.title if known else ''}")


def _decide(state: Literal["active", "suspended", "revoked"]) -> Any:
    def command(
        directory: BrokerDir,
        contract: Annotated[str, typer.Argument(help="The contract's digest.")],
        reason: Annotated[str, typer.Option(help="Shown to the analyst.")] = "",
    ) -> None:
        home = BrokerHome(directory)
        home.contracts.decide(contract, Decision(state, _now(), reason))
        # Stopped first, told afterwards: a log that cannot be written must not keep anybody from stopping.
        said: dict[str, Any] = {"status": state, "reason": reason[:200]}
        home.record(Event("decision", _now(), actor="owner", contract=contract, op="contract.decide", **said))
        _say(
            f"{contract} is {state}: from now on"
            + (" releases are signed" if state == "active" else " nothing is released")
        )

    return command


broker_app.command("resume", help="Let a suspended contract go on.")(_decide("active"))
broker_app.command("suspend", help="Stop every release of a contract until `resume`.")(_decide("suspended"))
broker_app.command("revoke", help="Stop every release of a contract for good.")(_decide("revoked"))


def _draft(path: Path) -> Any:
    try:
        spec = tomllib.loads(path.read_text(encoding="utf-8"))
        parties = [Party(**item) for item in spec["party"]]
        brokers = [Broker(**item) for item in spec["broker"]]
        terms = msgspec.convert(spec["terms"], contracts.Terms)
        offers = [offer for item in spec["capsule"] for offer in _offers(path.parent / item["path"], item, parties)]
        head = (str(spec["name"]), str(spec["title"]))
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MalformedError(
            "contract.spec", f"{path}: {error!r}", next_step="see the example in docs/provider.md"
        ) from error
    return contracts.draft(
        *head, parties=parties, brokers=brokers, offers=offers, policies=spec.get("policies", {}), terms=terms,
        purposes=spec.get("purposes", ()),
    )  # fmt: skip


def _offers(folder: Path, item: dict[str, str], parties: list[Party]) -> list[contracts.Offer]:
    """Return the offers of a capsule's tables: of all of them, or of the one that ``item`` names."""
    provider = next((party for party in parties if party.name == item["provider"]), None)
    if provider is None:
        raise ContractError("contract.provider", f"{item['provider']} is no party", next_step="name it under [[party]]")
    manifest = _document(folder / MANIFEST_FILE)
    held = [table.name for table in capsule.open_manifest(manifest, provider.did).tables]
    if (wanted := item.get("table", "")) and wanted not in held:
        raise ContractError("contract.reference", f"{folder} holds no {wanted}", next_step="name one of its tables")
    found = []
    for at, name in enumerate(held):
        if name == (wanted or name):
            envelope = _document(folder / card_file(at))
            card = signing.open_card(envelope, provider.did)
            digests = signing.payload_digest(envelope), signing.payload_digest(manifest)
            found.append(contracts.Offer(item["provider"], item["broker"], card, *digests))
    return found


def _card(path: Path) -> Card:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("card.file", f"{path} is no card: {error}", next_step="cloister card suggest") from error


def _document(path: Path) -> Envelope:
    try:
        return contracts.read(path.read_bytes())
    except OSError as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


_contract = _document


def _report(found: Iterable[Finding]) -> None:
    found = tuple(found)
    for finding in found:
        style = "red" if finding.level == "error" else "yellow"
        out.print(f"{finding.code}  {finding.clause}: {finding.text}; {finding.advice}", style=style, markup=False)
    if lint.errors_of(found):
        raise RefusedError(
            "lint.errors", f"{len(lint.errors_of(found))} errors", next_step="change what is named above"
        )
    _say("no errors")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
