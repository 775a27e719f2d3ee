"""The proxy as a process, with a local session in place of the attested one: ``local_proxy.py -f CONN [BEHAVIOUR]``.

Behaviours: ``kernel`` (default); ``refused`` (the appraisal says no); ``slow`` (dialling never ends).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from local_session import LocalSession

from cloister.analyst.serve import serve
from cloister.errors import TrustError


async def refused() -> LocalSession:
    raise TrustError("appraisal.measurement", "the enclave runs other code than the contract names", next_step="ask")


async def slow() -> LocalSession:
    await asyncio.sleep(float(os.environ.get("CLOISTER_TEST_DIAL_S", "3600")))
    return await LocalSession.open()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", dest="file", type=Path, required=True)
    parser.add_argument("behaviour", nargs="?", default="kernel")
    options = parser.parse_args()
    dialler = {"kernel": LocalSession.open, "refused": refused, "slow": slow}[options.behaviour]
    sys.exit(serve(options.file, dialler, entry="local", mode="confidential"))
