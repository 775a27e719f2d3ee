"""What a provider publishes of a quality report: chosen scores, rounded down, and a commitment to the whole report.

Every figure read off data is a disclosure outside the privacy guarantee: it is exact, and it is charged to nobody. So
nothing is published unless it is named, numerators and denominators never are (they would tell the number of rows), and
the commitment is to a report that holds a random salt.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec

from cloister.contract.lineage import PublishedQuality
from cloister.errors import MalformedError, RefusedError
from cloister.provider.quality.measures import QualityReport
from cloister.wire import canonical


def encode(report: QualityReport) -> bytes:
    """Return the bytes of a report that a commitment is to."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def of_report(report: QualityReport, dimensions: list[str]) -> PublishedQuality:
    """Return what is published of a report: the scores of these dimensions.

    Raises:
        RefusedError: ``quality.publish``: a dimension that was not measured, or none.
    """
    figures = {}
    for score in report.scores:
        if score.dimension in dimensions and score.worst is not None:
            # Down, so that nobody is promised more than there is.
            hundredths = int(Fraction(score.worst.good, score.worst.total) * 100)
            figures[score.dimension] = f"{hundredths // 100}.{hundredths % 100:02d}"
    if missing := sorted(set(dimensions) - set(figures)):
        raise RefusedError(
            "quality.publish", f"{missing[0]} was not measured", next_step="publish what the report has a score for"
        )
    return PublishedQuality(dict(sorted(figures.items())), canonical.digest_bytes(encode(report)), report.as_of)


def read(path: Path | None) -> PublishedQuality | None:
    """Return published figures from a file, or None if there is none.

    Raises:
        MalformedError: ``quality.file``.
    """
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=PublishedQuality)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise MalformedError(
            "quality.file", f"{path} holds no published figures: {error}",
            next_step="`cloister quality --publish validity --published FILE` writes one",
        ) from error  # fmt: skip
