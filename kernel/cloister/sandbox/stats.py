"""``cl.stats``: classical tests whose p-values and intervals account for the privacy noise.

    cl.stats.independence(visits.sex, visits.smoker)      # chi-square, one cross-table
    cl.stats.goodness_of_fit(visits.region)               # chi-square, one table of counts
    cl.stats.ttest(visits.cost, visits.smoker)            # means or rates of two groups
    cl.stats.ols("cost ~ age + region", visits)           # regression with privacy and total errors

Each asks for one release (``.cost(...)`` tells its price) and computes the rest on this side. An ordinary test on
released values takes noise for effects and rejects far too often; these do not.
"""

from __future__ import annotations

from cloister.sandbox.stats_counts import goodness_of_fit, independence
from cloister.sandbox.stats_means import ttest
from cloister.sandbox.stats_ols import ols
from cloister.sandbox.stats_result import Result

__all__ = ["Result", "goodness_of_fit", "independence", "ols", "ttest"]
