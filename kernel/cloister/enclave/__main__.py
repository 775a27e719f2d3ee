"""``python -m cloister.enclave --config enclave.json``: run the agent of an enclave."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from cloister.confine import process
from cloister.confine.libc import LINUX
from cloister.enclave import attesters
from cloister.enclave.agent import Agent
from cloister.enclave.config import load_config
from cloister.enclave.measure import measure, package_folder
from cloister.errors import CloisterError
from cloister.home import cloister_home

_HARMLESS = {
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "PYTHONHASHSEED",
    "PYTHONSAFEPATH",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the agent until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.enclave", description="Run the agent of an enclave.")
    parser.add_argument("--config", type=Path, required=True, help="enclave.json (see cloister/enclave/config.py)")
    options = parser.parse_args(arguments)
    _start_clean(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(_agent(options.config.resolve()).run())
    except CloisterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _agent(path: Path) -> Agent:
    config = load_config(path)
    measurement = measure()
    endorsements = {name: path.parent / file for name, file in config.endorsements.items()}
    attester = attesters.choose(config.attester, cloister_home(), endorsements=endorsements)
    agent = Agent(config, path.parent, attester=attester, measurement=measurement)
    if LINUX:
        process.no_new_privileges()
        process.not_dumpable()
    return agent


def _start_clean(arguments: list[str]) -> None:
    """Start again where the interpreter was told to look for code elsewhere: children are not told that.

    What is measured in this process must be what they import.
    """
    package = str(package_folder().parent)
    told = {name for name in os.environ if name.startswith("PYTHON")} - _HARMLESS
    if told - {"PYTHONPATH"} or os.environ.get("PYTHONPATH", package) != package:
        kept = {name: value for name, value in os.environ.items() if name not in told}
        command = [sys.executable, "-P", "-m", "cloister.enclave", *arguments]
        os.execve(sys.executable, command, {**kept, "PYTHONPATH": package})  # noqa: S606 - our own interpreter


if __name__ == "__main__":
    sys.exit(main())
