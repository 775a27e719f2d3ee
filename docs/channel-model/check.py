"""Search the channel model: no attack with every defence, and an attack for each defence that is switched off.

    pip install maude && python docs/channel-model/check.py

Needs the Maude bindings (GPL, so no part of Cloister and only an aid of its tests). Takes a few minutes of one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).with_name("channel.maude")


class Case(NamedTuple):
    """A search: where it begins, the defences switched off, the property, and whether an attack must be found."""

    scenario: str
    off: str
    attack: str
    found: bool


SECURE = (
    Case("broker", "nil", "attack", found=False),
    Case("alone", "nil", "attack", found=False),
    Case("diverted", "nil", "attack", found=False),
    Case("line", "nil", "attack", found=False),
    Case("careless", "nil", "attack", found=False),
    Case("stolen", "nil", "hers", found=False),
)

SWITCHED_OFF = (
    Case("diverted", "policy", "secrecy", found=True),
    Case("diverted", "binding-compared", "secrecy", found=True),
    Case("line", "hello-bound", "agreement", found=True),
    Case("diverted", "versions-bound", "downgrade", found=True),
    Case("diverted", "version-bound", "downgrade", found=True),
    Case("diverted", "kex-bound", "secrecy", found=True),
    Case("diverted", "contract-bound claims-compared", "agreement", found=True),
    Case("broker", "role-bound", "vaults", found=True),
    Case("broker", "policy", "datakeys", found=True),
    Case("broker", "binding-compared", "datakeys", found=True),
    Case("broker", "hello-once", "readmission", found=True),
    Case("alone", "audience-checked", "audience", found=True),
    Case("alone", "signature", "impersonation", found=True),
    Case("careless", "binding-signed", "impersonation", found=True),
    Case("alone", "admitted-only", "membership", found=True),
    Case("alone", "directions", "reflection", found=True),
    Case("alone", "sequence", "replay", found=True),
    Case("line", "owner-resumes", "theft", found=True),
)

# One of two defences that cover the same attack: without it there is still none.
DOUBLED = (
    Case("diverted", "contract-bound", "attack", found=False),
    Case("diverted", "claims-compared", "attack", found=False),
    Case("diverted", "contract-checked", "attack", found=False),
    Case("broker", "role-checked", "attack", found=False),
)

CASES = SWITCHED_OFF + SECURE + DOUBLED


def attacked(case: Case) -> bool:
    """Search all that can happen; return whether the attack does."""
    import maude  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 (optional)

    maude.init()
    if maude.getModule("CHANNEL") is None:
        maude.load(str(MODEL))
    model = maude.getModule("CHANNEL")
    start = model.parseTerm(f"{case.scenario}(less(all, {case.off}))")
    happens = maude.EqualityCondition(model.parseTerm(f"{case.attack}(CF:Conf)"), model.parseTerm("true"))
    search = start.search(maude.ANY_STEPS, model.parseTerm("CF:Conf"), [happens])
    return next(iter(search), None) is not None


def main() -> int:
    """Run every case; say what was found."""
    wrong = 0
    for case in CASES:
        began = time.process_time()
        found = attacked(case)
        wrong += found != case.found
        without = "every defence" if case.off == "nil" else f"without {case.off}"
        verdict = f"attack on {case.attack}" if found else "no attack"
        mark = "" if found == case.found else "   NOT EXPECTED"
        print(f"{case.scenario:9} {without:42} {verdict:26} {time.process_time() - began:6.1f} s{mark}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
