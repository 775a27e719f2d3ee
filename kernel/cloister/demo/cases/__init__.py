"""Five cases: tables of several providers with a planted effect that only joint data show.

Every table comes from a seeded generator in this folder and is about nobody. ``effect`` is a parameter of each
generator: with 0 the joint data know no more than one party's own (``tests/demo/test_cases.py``).

| name | providers | rows | shape |
|---|---|---|---|
| ``credit`` | bank, platform | 20,000 + 24,000 | vertical: 12 and 15 features of the same customers |
| ``ckd`` | five hospitals | 200,000 | horizontal: the same columns, other patients |
| ``fraud`` | carrier, authority | 100,000 + 100,000 | two lists of telephone numbers, asked both ways |
| ``ocean`` | stations, platforms, islands | 1,020,000 | joint statistics and prediction, low sensitivity |
| ``carbon`` | power, gas, registry | 286 each | tiny groups: the noise is the lesson |
"""

from __future__ import annotations

from importlib import import_module

from cloister.demo.scene import Scene
from cloister.errors import RefusedError

NAMES = ("credit", "ckd", "fraud", "ocean", "carbon")


def scene(name: str) -> Scene:
    """Return a case.

    Raises:
        RefusedError: ``demo.case``: there is none of that name.
    """
    if name not in NAMES:
        raise RefusedError(
            "demo.case",
            f"there is no case {name[:40]!r}",
            nearest=tuple(f"cloister demo case {known}" for known in NAMES),
        )
    found: Scene = import_module(f"cloister.demo.cases.{name}").SCENE
    return found
