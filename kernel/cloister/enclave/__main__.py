"""``python -m cloister.enclave --config enclave.json``: run the agent of an enclave."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from cloister.enclave.agent import Agent
from cloister.enclave.config import load_config
from cloister.enclave.measure import measure
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import CloisterError
from cloister.home import cloister_home


def main(arguments: list[str] | None = None) -> int:
    """Run the agent until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.enclave", description="Run the agent of an enclave.")
    parser.add_argument("--config", type=Path, required=True, help="enclave.json (see cloister/enclave/config.py)")
    options = parser.parse_args(arguments)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
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
    attester = SimulatorAttester.load(cloister_home())
    return Agent(config, path.parent, attester=attester, measurement=measurement)


if __name__ == "__main__":
    sys.exit(main())
