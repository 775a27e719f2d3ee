"""What commands are added to: the groups, the zones' commands where they are called for, the two streams."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated

import typer

from cloister import __version__
from cloister.demo.commands import demo_app
from cloister.errors import EXTRA, RefusedError
from cloister.terminal import Terminal

out = Terminal(emoji=False)
err = Terminal(stderr=True, emoji=False)

app = typer.Typer(
    name="cloister", no_args_is_help=True, help="Confidential analytics in Jupyter.", pretty_exceptions_enable=False
)
app.add_typer(demo_app, name="demo")
attest_app = typer.Typer(no_args_is_help=True, help="Evidence of enclaves, and the verifiers of this installation.")
app.add_typer(attest_app, name="attest")
audit_app = typer.Typer(no_args_is_help=True, help="A broker's logs, for an auditor: export them, check them offline.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Signed statements of where a broker's logs stand.")


def _say_version(asked: bool) -> None:
    if asked:
        out.print(f"cloister {__version__}", markup=False, highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_say_version,
            is_eager=True,
            help="Print the version; `cloister measure` prints the digest of the code.",
        ),
    ] = False,
) -> None:
    """Confidential analytics in Jupyter."""


_ANY = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}


def _mount_approvals() -> None:
    from cloister.cli import approvals

    app.add_typer(approvals.app, name="approval")


def _mount_releases() -> None:
    from cloister.cli import releases

    app.add_typer(releases.app, name="release")


def _mount_measure() -> None:
    from cloister.cli import measure

    app.command("measure")(measure.measure)


def _mount_endorse() -> None:
    from cloister.cli import endorse

    app.command("endorse")(endorse.endorse)


def _mount_enclave() -> None:
    from cloister.cli import evidence

    app.command("enclave")(evidence.enclave)


def _mount_receiver() -> None:
    from cloister.receiver import commands

    app.command("receiver")(commands.receiver)
    app.command("open")(commands.open_delivery)


def _mount_audit() -> None:
    """Add what checks a broker's logs, which needs nothing of the provider's, and what writes them."""
    from cloister.reviewer import audit_commands as commands

    audit_app.command("check")(commands.check)
    audit_app.command("alerts")(commands.find_alerts)
    audit_app.command("report")(commands.report)
    checkpoint_app.command("check")(commands.check_checkpoint)
    app.add_typer(audit_app, name="audit")
    app.add_typer(checkpoint_app, name="checkpoint")
    app.command("invoice")(commands.make_invoice)
    try:
        from cloister.provider import log_commands
    except ModuleNotFoundError as error:
        _only_if_missing(error)
        audit_app.command("export", hidden=True, context_settings=_ANY)(_without_provider)
        checkpoint_app.command("take", hidden=True, context_settings=_ANY)(_without_provider)
    else:
        audit_app.command("export")(log_commands.export)
        checkpoint_app.command("take")(log_commands.take)


def _mount_identity() -> None:
    from cloister.provider import commands

    app.command("identity")(commands.identity)


def _mount_card() -> None:
    from cloister.provider import commands

    app.add_typer(commands.card_app, name="card")


def _mount_seal() -> None:
    from cloister.provider import seal_commands

    app.command("seal")(seal_commands.seal)


@functools.cache
def _mount_contract() -> None:
    """Add contracts; the same module adds to what brokers do."""
    from cloister.provider import commands, contract_commands  # noqa: F401

    app.add_typer(commands.contract_app, name="contract")


def _mount_broker() -> None:
    from cloister.provider import commands, log_commands

    _mount_contract()
    log_commands.extend_broker(commands.broker_app)
    app.add_typer(commands.broker_app, name="broker")


def _mount_account() -> None:
    from cloister.provider import account_commands

    app.add_typer(account_commands.app, name="account")


def _mount_alerts() -> None:
    from cloister.provider import alert_commands

    app.command("alerts")(alert_commands.show)


def _mount_ledger() -> None:
    from cloister.provider import log_commands

    app.add_typer(log_commands.ledger_app, name="ledger")


def _mount_unit_keys() -> None:
    from cloister.provider import unit_keys_commands

    app.add_typer(unit_keys_commands.app, name="unit-keys")


def _mount_capsule() -> None:
    from cloister.provider import capsule_commands

    app.add_typer(capsule_commands.app, name="capsule")


def _mount_catalogue() -> None:
    from cloister.provider import catalogue_commands

    app.add_typer(catalogue_commands.app, name="catalogue")


def _mount_quality() -> None:
    from cloister.provider.quality import commands

    commands.mount(app)


def _mount_deidentify() -> None:
    from cloister.provider.deidentify import commands

    commands.mount(app)


# Each command's zone is imported when the command is called for: nobody waits for database tools to make a key.
_PARTS: tuple[tuple[Callable[[], None], tuple[str, ...]], ...] = (
    (_mount_audit, ("audit", "checkpoint", "invoice")),
    (_mount_receiver, ("receiver", "open")),
    (_mount_enclave, ("enclave",)),
    (_mount_approvals, ("approval",)),
    (_mount_releases, ("release",)),
    (_mount_measure, ("measure",)),
    (_mount_endorse, ("endorse",)),
)
_PROVIDERS_PARTS: tuple[tuple[Callable[[], None], tuple[str, ...]], ...] = (
    (_mount_identity, ("identity",)),
    (_mount_quality, ("quality",)),
    (_mount_deidentify, ("deidentify",)),
    (_mount_card, ("card",)),
    (_mount_seal, ("seal",)),
    (_mount_contract, ("contract",)),
    (_mount_account, ("account",)),
    (_mount_broker, ("broker",)),
    (_mount_unit_keys, ("unit-keys",)),
    (_mount_ledger, ("ledger",)),
    (_mount_alerts, ("alerts",)),
    (_mount_capsule, ("capsule",)),
    (_mount_catalogue, ("catalogue",)),
)


def _without_provider() -> None:
    raise RefusedError("install.extra", "the provider's tools are not installed", next_step=EXTRA.format("provider"))


def _only_if_missing(error: ModuleNotFoundError) -> None:
    if error.name is None or error.name.startswith("cloister"):
        raise error


@functools.cache
def _mount(part: Callable[[], None]) -> None:
    """Add a part once; where the provider's tools are not installed, what stands in for them says so."""
    try:
        part()
    except ModuleNotFoundError as error:
        _only_if_missing(error)
        names = dict(_PROVIDERS_PARTS).get(part)
        if names is None:
            raise
        for name in names:
            app.command(name, hidden=True, context_settings=_ANY)(_without_provider)


@functools.cache
def whole() -> typer.Typer:
    """The command with every zone's commands, which are imported only now."""
    for part, _ in (*_PARTS, *_PROVIDERS_PARTS):
        _mount(part)
    return app


def called_for(arguments: list[str]) -> typer.Typer:
    """Return the command with what the arguments call for, or with everything if they name nothing that is known."""
    name = next((text for text in arguments if not text.startswith("-")), "")
    mine = {item.name or getattr(item.callback, "__name__", "") for item in app.registered_commands}
    mine |= {group.name or "" for group in app.registered_groups}
    if name in mine or arguments == ["--version"]:
        return app
    parts = [part for part, names in (*_PARTS, *_PROVIDERS_PARTS) if name in names]
    for part in parts:
        _mount(part)
    return app if parts else whole()
