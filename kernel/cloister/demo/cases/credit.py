"""Joint credit risk: a bank and a shopping platform know different things about the same customers (S0-D01).

Bank: 20,000 customers, 12 features and who defaulted within a year (4 %). Platform: 24,000 users, 15 features; 19,000
of them are customers of the bank. Every feature is drawn independently and fills its public range evenly.

Planted effect: the log-odds of default are a bank part, spread so that the bank alone reaches an AUC of about
``BANK_AUC``, plus ``effect`` times a platform part, spread so that both together reach ``JOINT_AUC`` at effect 1.
With effect 0 the platform knows nothing about default.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from cloister.contract.card import Card, Column
from cloister.demo.cards import number
from cloister.demo.cases import draws
from cloister.demo.scene import Scene

SEED = 20_261_128
CUSTOMERS = 20_000
USERS = 24_000
SHARED = 19_000
DEFAULT_RATE = 0.04
BANK_AUC = 0.70
JOINT_AUC = 0.88
PURPOSE = "credit risk"

_BANK_WEIGHTS = {
    "late_payments": 0.7, "utilisation": 0.6, "debt_ratio": 0.6, "income": -0.5, "enquiries": 0.4, "savings": -0.4,
    "tenure": -0.3, "age": -0.2,
}  # fmt: skip
_PLATFORM_WEIGHTS = {
    "bill_days_late": 0.8, "chargebacks": 0.7, "night_share": 0.5, "gaming_share": 0.5, "address_changes": 0.4,
    "account_age": -0.5, "rating": -0.4, "instalments": 0.3,
}  # fmt: skip

BANK = Card(
    name="bank.customers",
    title="Customers of the bank",
    description="Borrowers of one year, with twelve features and whether they defaulted. Invented.",
    unit="customer",
    key=("customer",),
    normaliser="ascii-lower-strip",
    population="bank.customers",
    rows_per_unit=1,
    row_limit=32_768,
    grade="demonstration",
    columns=(
        Column("customer", "string", 2, "Customer code, the same at both parties", personal=True),
        number("age", "18", "80", "1", "Age", measure="years"),
        number("income", "0", "200000", "100", "Yearly income before tax", measure="EUR"),
        number("debt_ratio", "0.00", "1.00", "0.01", "Debt service over income"),
        number("utilisation", "0.00", "1.00", "0.01", "Part of the credit lines in use"),
        number("late_payments", "0", "12", "1", "Months with a late payment, of the last twelve"),
        number("savings", "0", "100000", "100", "Savings", measure="EUR"),
        number("tenure", "0", "40", "1", "Years as a customer", measure="years"),
        number("products", "1", "8", "1", "Products held"),
        number("card_limit", "0", "30000", "100", "Limit of the credit cards", measure="EUR"),
        number("enquiries", "0", "10", "1", "Credit enquiries in the last half year"),
        Column("mortgage", "bool", 2, "Has a mortgage", personal=True),
        Column("salary_account", "bool", 2, "Receives a salary here", personal=True),
        Column("defaulted", "bool", 3, "Ninety days past due within the year after", personal=True),
    ),
    source="Seeded generator cloister.demo.cases.credit.bank",
    retention="deleted with the case",
    purposes=(PURPOSE,),
)

PLATFORM = Card(
    name="platform.users",
    title="Users of the platform",
    description="Users of a shopping platform, with fifteen features of the same year. Invented.",
    unit="customer",
    key=("user",),
    normaliser="ascii-lower-strip",
    population="platform.customers",
    rows_per_unit=1,
    row_limit=32_768,
    grade="demonstration",
    columns=(
        Column("user", "string", 2, "Customer code, as the user typed it", personal=True),
        number("orders", "0", "60", "1", "Orders a month"),
        number("spend", "0", "5000", "10", "Spent a month", measure="EUR"),
        number("returns_share", "0.00", "1.00", "0.01", "Part of the orders sent back"),
        number("night_share", "0.00", "1.00", "0.01", "Part of the orders between midnight and five"),
        number("devices", "1", "8", "1", "Devices used"),
        number("address_changes", "0", "6", "1", "Changes of address in two years"),
        number("account_age", "0", "15", "1", "Age of the account", measure="years"),
        number("chargebacks", "0", "6", "1", "Payments charged back"),
        number("topups", "0", "60", "1", "Wallet top-ups a month"),
        number("bill_days_late", "0", "30", "1", "Average days bills are paid late", measure="days"),
        number("contacts", "0", "300", "1", "Contacts in the address book"),
        number("gaming_share", "0.00", "1.00", "0.01", "Part of the spending that goes to games of chance"),
        number("coupon_share", "0.00", "1.00", "0.01", "Part of the orders with a coupon"),
        number("rating", "1.0", "5.0", "0.1", "Rating by sellers"),
        number("instalments", "0", "12", "1", "Purchases being paid in instalments"),
    ),
    source="Seeded generator cloister.demo.cases.credit.platform",
    retention="deleted with the case",
    purposes=(PURPOSE,),
)

BANK_FEATURES = tuple(column.name for column in BANK.columns[1:-1])
FLAGS = ("mortgage", "salary_account")
PLATFORM_FEATURES = tuple(column.name for column in PLATFORM.columns[1:])


@lru_cache(maxsize=2)
def both(effect: float = 1.0, seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the two tables, as the parties hold them."""
    rng = np.random.default_rng(seed)
    people = CUSTOMERS + USERS - SHARED
    code = rng.permutation(np.arange(100_000, 1_000_000))[:people]
    at_bank = {name: rng.random(people) for name in BANK_FEATURES}
    at_platform = {name: rng.random(people) for name in PLATFORM_FEATURES}

    own, joint = draws.auc_spread(BANK_AUC), draws.auc_spread(JOINT_AUC)
    bank_part = sum(weight * (2 * at_bank[name] - 1) for name, weight in _BANK_WEIGHTS.items())
    platform_part = sum(weight * (2 * at_platform[name] - 1) for name, weight in _PLATFORM_WEIGHTS.items())
    score = own * draws.standard(np.asarray(bank_part))
    score += effect * np.sqrt(joint**2 - own**2) * draws.standard(np.asarray(platform_part))
    defaulted = draws.outcomes(rng, score, DEFAULT_RATE)

    banked, using = slice(0, CUSTOMERS), slice(CUSTOMERS - SHARED, people)
    bank = pd.DataFrame({"customer": [f"C-{number}" for number in code[banked]]})
    for name in BANK_FEATURES:
        shares = at_bank[name][banked]
        bank[name] = shares > 0.5 if name in FLAGS else draws.values(BANK, name, shares)
    bank["defaulted"] = defaulted[banked]
    # People type their code in their own way; the normaliser on the card makes both spellings one.
    platform = pd.DataFrame({"user": [f"c-{number} " if number % 3 else f"C-{number}" for number in code[using]]})
    for name in PLATFORM_FEATURES:
        platform[name] = draws.values(PLATFORM, name, at_platform[name][using])
    order = rng.permutation(USERS)
    return bank, platform.iloc[order].reset_index(drop=True)


def bank(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the bank's table."""
    return both(effect, seed)[0]


def platform(effect: float = 1.0, seed: int = SEED) -> pd.DataFrame:
    """Return the platform's table."""
    return both(effect, seed)[1]


SCENE = Scene(
    name="credit",
    title="Joint credit risk",
    cards=(BANK, PLATFORM),
    tables={BANK.name: bank, PLATFORM.name: platform},
    brokers="each",
)
