"""The optional clauses in plain words (``words`` has the others)."""

from __future__ import annotations

from collections.abc import Iterator

from cloister.contract import packs
from cloister.contract.clauses import Access, RowLimit, Software, Tariff
from cloister.contract.terms import Contract
from cloister.errors import CloisterError

_DUTIES = {
    "export": "A delivery needs an approval by two persons besides its clause.",
    "completion": "When the work is completed, the brokers destroy the keys of these tables, unless another contract "
    "that is still alive needs them.",
    "expiry": "When the contract has expired, the brokers destroy the keys of these tables, unless another contract "
    "that is still alive needs them.",
}
_NEEDS = {
    "nda": "names the confidentiality agreement",
    "necessity": "says why",
    "measures": "says how the risk is kept small",
    "down-tier": "lowers the tier of the result",
}
_MARK = "what a notebook displays carries a mark of who looks, under which contract, and when"
_OPERATIONS = {"aggregate": "aggregates", "model": "models", "match": "matches", "deliver": "deliveries"}


def lines(contract: Contract) -> Iterator[str]:
    """Yield a sentence for everything the optional clauses say; nothing for a contract without them."""
    if isinstance(contract.access, tuple):
        yield "Each analyst may use what is listed here, and nothing else:"
        yield from (f"  - {_access(one)}" for one in contract.access)
    yield from _pack(contract)
    for one in contract.who_approves:
        yield f"{one.name} may approve what is asked of the tables of {one.provider}, but nothing they ask for."
    yield from (_DUTIES.get(duty.on, f"{duty.on}: {duty.do}") for duty in contract.duties)
    for tariff in contract.prices:
        yield f"At {tariff.broker} this costs, in {tariff.currency}: {_prices(tariff)}."
    if contract.allowed_hosts:
        yield f"Only these hosts may run the enclave: {', '.join(contract.allowed_hosts)}."
    if contract.signed_software:
        yield _software(contract.signed_software)
    if contract.display_mark is True:
        yield f"{_MARK[0].upper()}{_MARK[1:]}."
    if contract.former:
        yield (
            f"This contract takes the place of {contract.former}, which ends when the broker takes up this one. "
            "What was spent of each population stays spent; releases, rows, computing and models are counted anew."
        )


def _software(clause: Software) -> str:
    signers = " or ".join(clause.signers)
    days = clause.overlap_days
    after = f"for {days} day{'' if days == 1 else 's'} more" if days else "no more"
    return (
        f"The enclave may run releases of the software signed by {signers}, of version {clause.minimum} or newer. Once "
        f"a broker has admitted a higher version, it admits lower ones {after}."
    )


def _access(one: Access) -> str:
    columns = ", ".join(one.columns) or "no column, only how many rows or units there are"
    rows = "; of all rows" if not one.rows else "; only rows where " + " and ".join(map(_row, one.rows))
    purposes = f"; for {', '.join(one.purposes)} only" if one.purposes else ""
    begin = f"; from {one.not_before}" if one.not_before else ""
    end = f"; until {one.not_after}" if one.not_after else ""
    return f"{one.analyst} of {one.table}: {columns}{rows}{purposes}{begin}{end}"


def _row(limit: RowLimit) -> str:
    if limit.values:
        return f"{limit.column} is {' or '.join(limit.values)}"
    low, high = (f" from {limit.low}" if limit.low else ""), (f" to {limit.high}" if limit.high else "")
    return f"{limit.column} is{low}{high}"


def _pack(contract: Contract) -> Iterator[str]:
    try:
        pack = packs.of(contract)
    except CloisterError as problem:
        yield f"TIER RULES THAT THIS VERSION DOES NOT HAVE: {problem.reason}."
        return
    if not pack.name:
        return
    yield f"Tiers are handled by {pack.name}: {pack.title}."
    for level in pack.level:
        for operation in packs.OPERATIONS:
            rule = pack.rule(level.tier, operation)
            if rule.decision == "refuse":
                yield f"  - tier {level.tier}, {_OPERATIONS[operation]}: refused."
            elif rule.decision == "approval":
                needs = ", ".join(_NEEDS[need] for need in rule.needs)
                days = f", for {rule.days} days at most" if rule.days else ""
                who = f"{rule.approvers} person{'' if rule.approvers == 1 else 's'}"
                said = f" that {needs}" if needs else ""
                yield f"  - tier {level.tier}, {_OPERATIONS[operation]}: an approval signed by {who}{said}{days}."
    if pack.highest_result < pack.tiers:
        yield f"  - no result above tier {pack.highest_result} is handed to a notebook."
    if pack.highest_stored < pack.tiers:
        yield f"  - a saved notebook holds nothing that rests on a result above tier {pack.highest_stored}."
    if pack.display_mark:
        yield f"  - {_MARK}."


def _prices(tariff: Tariff) -> str:
    units = {"release": "a release", "rows": "a million rows scanned", "compute": "a second of planned computing"}
    units["model"] = "a model"
    return ", ".join(f"{getattr(tariff, name)} for {unit}" for name, unit in units.items())
