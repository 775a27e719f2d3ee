"""OpenDP-Polars, grouped mean: reads a table, then prints how long each asked-for release took, in milliseconds.

python opendp_speed.py TABLE.parquet REGIONS    (one line of input per release)
"""

from __future__ import annotations

import sys
import time

import opendp.prelude as dp
import polars as pl

dp.enable_features("contrib")


def main() -> None:
    data = pl.read_parquet(sys.argv[1]).lazy()
    keys = pl.LazyFrame({"region": sys.argv[2].split(",")})
    for _ in sys.stdin:
        start = time.perf_counter()
        context = dp.Context.compositor(
            data=data, privacy_unit=dp.unit_of(contributions=1), privacy_loss=dp.loss_of(rho=0.01),
            split_evenly_over=1, margins=[dp.polars.Margin(max_length=20_000_000)],
        )  # fmt: skip
        query = context.query().filter(pl.col("age") >= 18).group_by("region")
        query.agg(pl.col("bmi").fill_null(40.0).fill_nan(40.0).dp.mean((10.0, 70.0))).with_keys(
            keys
        ).release().collect()
        print(1000 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
