"""The prices everybody signed, as the price list that invoices are made from (``cloister invoice --tariff``).

The list follows from the contract alone, and an invoice from the list and the broker's log: whoever has the two gets
the same amounts, so a broker cannot ask for other prices than the signed ones.
"""

from __future__ import annotations

from cloister.contract.clauses import Tariff
from cloister.contract.signing import contract_digest
from cloister.contract.terms import Contract
from cloister.errors import ContractError

# What is counted, the price of it, and how many of it the price is for (rows in millions, compute in units of 100 ms).
_ITEMS = (("releases", "release", 1), ("rows", "rows", 1_000_000), ("compute", "compute", 10), ("models", "model", 1))


def price_list(contract: Contract, broker: str) -> str:
    """Return the price list of one broker as TOML.

    Raises:
        ContractError: ``contract.tariff``: the contract states no prices of this broker.
    """
    tariff = next((one for one in contract.prices if one.broker == broker), None)
    if tariff is None:
        raise ContractError(
            "contract.tariff",
            f"the contract states no prices of {broker!r}",
            clause="tariffs",
            nearest=tuple(one.broker for one in contract.prices),
            next_step="name a broker that has some; without a tariff nothing is owed",
        )
    return "\n".join(_lines(tariff, contract_digest(contract))) + "\n"


def _lines(tariff: Tariff, contract: str) -> list[str]:
    lines = [f'currency = "{tariff.currency}"']
    for item, name, per in _ITEMS:
        lines += ["", "[[price]]", f'item = "{item}"', f'amount = "{getattr(tariff, name)}"', f"per = {per}"]
        lines += [f'contract = "{contract}"']
    return lines
