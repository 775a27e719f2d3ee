"""The commands of the embedded demo: ``cloister demo up|down|status|reset|case``; the work is done beside."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cloister.errors import RefusedError
from cloister.home import cloister_home
from cloister.terminal import Terminal

demo_app = typer.Typer(no_args_is_help=True, help="The embedded demo: one enclave and one broker per user.")
out = Terminal(emoji=False)


@demo_app.command("up")
def demo_up() -> None:
    """Start the embedded enclave and broker (kernels do this by themselves)."""
    from cloister.demo import pair

    out.print_json(json.dumps(pair.up(cloister_home())))


@demo_app.command("down")
def demo_down() -> None:
    """Stop them, and the cases that run; budgets and keys stay."""
    from cloister.demo import pair

    pair.down_all(cloister_home())


@demo_app.command("status")
def demo_status() -> None:
    """Say whether they run, and where."""
    from cloister.demo import pair

    state = pair.running(cloister_home())
    out.print_json(json.dumps(state)) if state else out.print(
        "not running; a Cloister kernel or `cloister demo up` starts it"
    )


@demo_app.command("reset")
def demo_reset(
    if_stale: Annotated[
        bool, typer.Option("--if-stale", help="Only if it was built by other code, which is refused anyway.")
    ] = False,
) -> None:
    """Forget the demo's budgets, keys and capsules and build them anew for the code installed now."""
    from cloister.demo import pair, parties

    home = cloister_home()
    if if_stale and not parties.is_stale(home):
        return
    pair.reset(home)
    out.print(f"demo parties built anew in {home / 'demo'}; every budget is full")


@demo_app.command("case")
def demo_case(
    name: Annotated[str, typer.Argument(help="One of credit, ckd, fraud, ocean, carbon.")],
    reset: Annotated[bool, typer.Option("--reset", help="Build it anew: new keys, full budgets.")] = False,
    effect: Annotated[
        float | None,
        typer.Option(
            help="How much of the planted effect its tables have: 1 as the notebook says (the default of a new one), "
            "0 none: joint and single tie. Neither contract nor cards say so. Another effect needs --reset.",
        ),
    ] = None,
) -> None:
    """Start a case: its own providers, brokers, contract and simulated enclave, and the kernel for its notebook."""
    from cloister.analyst.kernelspecs import install_kernelspecs
    from cloister.demo import cases, pair, parties
    from cloister.demo.world import load_world, reset_command

    planted = 1.0 if effect is None else effect
    home, scene = cloister_home(), cases.scene(name, planted)
    built = scene.effect
    if reset:
        pair.reset(home, name, effect=planted)
    elif parties.is_stale(home, name):
        # Budgets and receipts' accounts would be gone: whoever asked for a case did not ask for that.
        raise RefusedError(
            "demo.stale",
            f"case {name} was built by other code than is installed now, and its brokers refuse this one",
            next_step=f"{reset_command(name)} builds it anew: new keys, full budgets",
        )
    elif world := load_world(home, name):
        built = world.effect
        if effect is not None and built != scene.effect:
            raise RefusedError(
                "demo.effect",
                f"case {name} is there already, with effect {built}",
                next_step=f"{reset_command(name)} --effect {scene.effect} builds it anew: new keys, full budgets",
            )
    pair.up(home, name, effect=planted)
    kernel, _ = install_kernelspecs(parties.entry_of(scene), scene.title)
    who = ", ".join(scene.providers)
    out.print(f"{scene.title}: invented data, simulated enclave; providers: {who}", soft_wrap=True)
    if built != "1":
        out.print(f"planted effect: {built}; write it where the notebook has a line `effect = 1`", soft_wrap=True)
    out.print(f"open notebooks/cases/{name}.ipynb, or any notebook, with the kernel {kernel}", soft_wrap=True)
