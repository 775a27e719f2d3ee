"""The order of storage against plain Python, with row hashes that tie in any part of their bits."""

from __future__ import annotations

import random

import duckdb
import numpy as np
import pyarrow as pa

from cloister.vault.order import kept_rows
from cloister.vault.stage import Integers, Rows, Text
from cloister.vault.units import Units


def check_order(seeds: range) -> None:
    """Kept are the first rows of each unit by hash and all columns; the flag says whether the unit had more."""
    connection = duckdb.connect()
    for seed in seeds:
        rng = random.Random(seed)
        size, most = rng.choice([0, 1, 7, 60]), rng.choice([1, 2, 5, None])
        halves = [(rng.choice([0, 2**63]), rng.choice([3, 2**64 - 1])) for _ in range(rng.choice([1, 4]))]
        owner = [rng.randrange(len(halves)) for _ in range(size)]
        # Of full range, equal in all but the lowest bits, or equal altogether.
        hashed = [rng.choice([rng.getrandbits(64), 2**64 - 1 - rng.randrange(3), 7]) for _ in range(size)]
        number = [rng.choice([None, -1, 0, 1]) for _ in range(size)]
        text = [rng.choice([None, "", "a", "b"]) for _ in range(size)]
        flags, keep = [rng.choice([0, 2]) for _ in range(size)], [rng.random() < 0.9 for _ in range(size)]
        upper, lower = (np.array([pair[half] for pair in halves], np.uint64) for half in (0, 1))
        codes, present = np.array(owner, np.int32), np.array(keep, np.bool_)
        if rng.random() < 0.5:
            upper, lower, codes = upper[codes], lower[codes], None
        values = np.array([value or 0 for value in number], np.int8)
        valid = np.array([value is not None for value in number], np.bool_)
        words = np.array(hashed, np.uint64)
        columns = {"c1": Integers(values, valid, pa.int8()), "c2": Text(pa.array(text, pa.large_string()), words)}
        staged = Rows(words, np.array(flags, np.int8), present, columns)
        ranks = Units(upper, lower, codes, present).ranks()
        kept = kept_rows(connection, ranks, staged, most)
        content = [
            (*halves[owner[row]], hashed[row], _last(number[row]), _last(text[row]), flags[row]) for row in range(size)
        ]
        ordered = sorted(content[row] for row in range(size) if keep[row])
        wanted = []
        for unit in sorted(set(halves)):
            own = [row for row in ordered if row[:2] == unit]
            wanted += [(row, most is not None and len(own) > most) for row in own[:most]]
        assert [(content[row], bool(more)) for row, more in zip(kept.rows, kept.more, strict=True)] == wanted
        assert [content[row][:2] for row in kept.rows] == [
            (int(upper[key]), int(lower[key])) for key in ranks.keys[kept.ranks]
        ]


def _last(value) -> tuple:
    return (value is None, value if value is not None else 0)
