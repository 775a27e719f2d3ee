"""Templates of contracts, one for each kind of data space: specifications for ``cloister contract draft`` with gaps."""

from __future__ import annotations

from importlib import resources

from cloister.errors import MalformedError

KINDS = {
    "enterprise": "one provider inside a group; analysts with their own columns",
    "industry": "several providers of one branch; approvers, tariffs, tiers of pboc-draft-2023",
    "city": "public data for an operator; aggregates only, levels of beijing-4",
    "personal": "data held in trust for persons; small budget, short time",
    "cross-border": "aggregates only; every delivery approved by two persons",
}


def template(kind: str) -> str:
    """Return a template as TOML; what is to be filled in stands in ``<>``.

    Raises:
        MalformedError: ``contract.template``: there is none of this kind.
    """
    if kind not in KINDS:
        raise MalformedError(
            "contract.template", f"there is no template {kind!r}", next_step="one of " + ", ".join(sorted(KINDS))
        )
    return resources.files("cloister.contract").joinpath("templates", f"{kind}.toml").read_text(encoding="utf-8")
