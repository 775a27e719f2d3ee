"""Five cases: tables of several providers with a planted effect that only joint data show.

Every table comes from a seeded generator in this folder and is about nobody. ``effect`` is a parameter of each
generator and of ``cloister demo case NAME --effect``: with 0 the joint data know no more than one party's own
(``tests/demo/test_cases.py``; with noise, by the notebooks, ``tests/notebooks/test_case_notebooks.py``).

| name | providers | rows | shape |
|---|---|---|---|
| ``credit`` | bank, platform | 20,000 + 24,000 | vertical: 12 and 15 features of the same customers |
| ``ckd`` | five hospitals | 200,000 | horizontal: the same columns, other patients |
| ``fraud`` | carrier, authority | 100,000 + 100,000 | two lists of telephone numbers, asked both ways |
| ``ocean`` | stations, platforms, islands | 1,020,000 | joint statistics and prediction, low sensitivity |
| ``carbon`` | power, gas, registry | 286 each | tiny groups: the noise is the lesson |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from cloister.demo.scene import Scene
from cloister.errors import RefusedError

NAMES = ("credit", "ckd", "fraud", "ocean", "carbon")


def scene(name: str, effect: float = 1.0) -> Scene:
    """Return a case, with as much of its planted effect as ``effect`` says: 1 as its notebook does, 0 none.

    Raises:
        RefusedError: ``demo.case``: there is none of that name; ``demo.effect``: the effect is not from 0 to 1.
    """
    if name not in NAMES:
        raise RefusedError(
            "demo.case",
            f"there is no case {name[:40]!r}",
            nearest=tuple(f"cloister demo case {known}" for known in NAMES),
        )
    found: Scene = import_module(f"cloister.demo.cases.{name}").SCENE
    if effect == 1:
        return found
    if not 0 <= effect < 1:
        raise RefusedError(
            "demo.effect",
            f"an effect is from 0 (none) to 1 (as the notebook says), not {effect:g}",
            nearest=(f"cloister demo case {name} --reset --effect 0",),
        )
    generators: Mapping[str, Callable[..., Any]] = found.tables  # every case's generators take its effect
    return found._replace(
        tables={table: partial(make, effect=effect) for table, make in generators.items()}, effect=f"{effect:g}"
    )
