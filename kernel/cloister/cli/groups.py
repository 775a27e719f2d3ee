"""What commands are added to: the groups, the zones' commands where they are called for, the two streams."""

from __future__ import annotations

import functools
from importlib import import_module

import typer

from cloister.demo.commands import demo_app
from cloister.errors import EXTRA, RefusedError
from cloister.terminal import Terminal

app = typer.Typer(
    name="cloister", no_args_is_help=True, help="Confidential analytics in Jupyter.", pretty_exceptions_enable=False
)
app.add_typer(demo_app, name="demo")
attest_app = typer.Typer(no_args_is_help=True, help="Evidence of enclaves, and the verifiers of this installation.")
app.add_typer(attest_app, name="attest")
audit_app = typer.Typer(no_args_is_help=True, help="A broker's logs, for an auditor: export them, check them offline.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Signed statements of where a broker's logs stand.")


_ANY = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}

out = Terminal(emoji=False)
err = Terminal(stderr=True, emoji=False)


def _without_provider() -> None:
    raise RefusedError("install.extra", "the provider's tools are not installed", next_step=EXTRA.format("provider"))


def _mount_approvals() -> None:
    from cloister.cli import approvals

    app.add_typer(approvals.app, name="approval")


def _mount_releases() -> None:
    from cloister.cli import endorse, measure, releases

    app.add_typer(releases.app, name="release")
    app.command("measure")(measure.measure)
    app.command("endorse")(endorse.endorse)


def _mount_enclave() -> None:
    from cloister.cli import evidence

    app.command("enclave")(evidence.enclave)


def _mount_receiver() -> None:
    from cloister.receiver import commands

    app.command("receiver")(commands.receiver)
    app.command("open")(commands.open_delivery)


def _mount_audit() -> None:
    """Add what checks a broker's logs: it needs nothing of the provider's."""
    from cloister.reviewer import audit_commands as commands

    audit_app.command("check")(commands.check)
    audit_app.command("alerts")(commands.find_alerts)
    audit_app.command("report")(commands.report)
    checkpoint_app.command("check")(commands.check_checkpoint)
    app.add_typer(audit_app, name="audit")
    app.add_typer(checkpoint_app, name="checkpoint")
    app.command("invoice")(commands.make_invoice)


def _mount_provider() -> None:
    """Add the provider's commands where the extra is installed."""
    try:
        from cloister.provider import capsule_commands, commands, log_commands, unit_keys_commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cloister"):
            raise
        groups = ("card", "contract", "broker", "account", "unit-keys", "ledger", "capsule")
        for name in ("identity", "quality", "deidentify", "seal", *groups):
            app.command(name, hidden=True, context_settings=_ANY)(_without_provider)
        audit_app.command("export", hidden=True, context_settings=_ANY)(_without_provider)
        checkpoint_app.command("take", hidden=True, context_settings=_ANY)(_without_provider)
        return
    import_module("cloister.provider.contract_commands")  # adds to two of the groups
    import_module("cloister.provider.quality.commands").mount(app)
    import_module("cloister.provider.deidentify.commands").mount(app)
    app.command("identity")(commands.identity)
    app.command("seal")(commands.seal)
    app.add_typer(commands.card_app, name="card")
    app.add_typer(commands.contract_app, name="contract")
    app.add_typer(commands.broker_app, name="broker")
    app.add_typer(commands.account_app, name="account")
    app.add_typer(unit_keys_commands.app, name="unit-keys")
    log_commands.extend_broker(commands.broker_app)
    audit_app.command("export")(log_commands.export)
    checkpoint_app.command("take")(log_commands.take)
    app.add_typer(log_commands.ledger_app, name="ledger")
    app.add_typer(capsule_commands.app, name="capsule")


@functools.cache
def whole() -> typer.Typer:
    """The command with every zone's commands, which are imported only now."""
    _mount_audit()
    _mount_provider()
    _mount_receiver()
    _mount_enclave()
    _mount_approvals()
    _mount_releases()
    return app


def called_for(arguments: list[str]) -> typer.Typer:
    """Return what the arguments call for: who verifies a notebook need not wait for the provider's database tools."""
    mine = {item.name or getattr(item.callback, "__name__", "") for item in app.registered_commands}
    mine |= {group.name for group in app.registered_groups}
    return app if next((text for text in arguments if not text.startswith("-")), "") in mine else whole()
