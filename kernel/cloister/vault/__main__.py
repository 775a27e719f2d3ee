"""``python -m cloister.vault --link-fd A --broker-fd B``: one vault, for one contract, until its link closes."""

from __future__ import annotations

import argparse
import sys

from cloister.vault import confine


def main(arguments: list[str]) -> int:
    """Run a vault on two inherited descriptors; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cloister.vault", description=__doc__)
    parser.add_argument("--link-fd", type=int, required=True, help="requests in, replies out")
    parser.add_argument("--broker-fd", type=int, required=True, help="signed messages to and from brokers")
    options = parser.parse_args(arguments)
    confine.prepare()
    from cloister.vault.boot import run  # noqa: PLC0415 (engines may be imported only after prepare())

    return run(options.link_fd, options.broker_fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
