"""Data cards of the demonstration tables.

Bounds, steps and domains are public knowledge (what a column can mean), never read off the data: human ages, a
clinic's price list, the codebook of the survey, physiological ranges. A value outside them is clipped by the vault.
"""

from __future__ import annotations

from typing import Literal

from cloister.contract.card import Card, Column
from cloister.demo import generators

Tier = Literal[1, 2, 3, 4, 5]
PURPOSE = "teaching"
_RETENTION = "deleted by `cloister demo reset`"


def number(
    name: str,
    low: str,
    high: str,
    step: str,
    text: str,
    *,
    tier: Tier = 2,
    measure: str = "",
    nullable: bool = False,
    personal: bool = True,
) -> Column:
    """Return a column of numbers: whole ones where bounds and step are."""
    kind: Literal["int", "decimal"] = "int" if "." not in low + high + step else "decimal"
    return Column(
        name,
        kind,
        tier,
        text,
        low=low,
        high=high,
        step=step,
        unit_of_measure=measure,
        nullable=nullable,
        personal=personal,
    )


def category(name: str, domain: tuple[str, ...], text: str, *, tier: Tier = 2, personal: bool = True) -> Column:
    """Return a column of categories, open to all as its domain."""
    return Column(name, "string", tier, text, domain=domain, personal=personal)


VISITS = Card(
    name="st_anna.visits",
    title="Visits to St Anna hospital",
    description="Outpatient visits 2022 to 2024, invented by a seeded generator; up to six visits per patient.",
    unit="patient",
    key=("patient_id",),
    normaliser="ascii-lower-strip",
    population="st_anna.patients",
    rows_per_unit=6,
    row_limit=131_072,
    grade="demonstration",
    columns=(
        Column("patient_id", "string", 2, "Patient number; joins rows of one patient", personal=True),
        Column("date", "date", 2, "Day of the visit", low="2022-01-01", high="2024-12-31"),
        number("age", "0", "110", "1", "Age at the first visit", measure="years"),
        category("sex", generators.SEXES, "Sex as registered"),
        category("region", generators.REGIONS, "Region of residence"),
        number("bmi", "10.0", "60.0", "0.1", "Body mass index", measure="kg/m2", nullable=True),
        number("cost", "0", "2000", "1", "Amount billed; the price list ends at 2,000", measure="EUR"),
    ),
    source="Seeded generator cloister.demo.generators.visits",
    retention=_RETENTION,
    purposes=(PURPOSE,),
    order="date",
)

DIABETES = Card(
    name="st_anna.diabetes",
    title="Diabetes study, 442 patients",
    description="Ten baseline values and disease progression one year later (Efron et al. 2004). Few patients: "
    "expect wide intervals.",
    unit="patient",
    key=("subject",),
    normaliser="exact",
    population="st_anna.study",
    rows_per_unit=1,
    row_limit=512,
    grade="demonstration",
    columns=(
        Column("subject", "int", 2, "Number of the patient in the study", low="1", high="512", step="1", personal=True),
        number("age", "18", "90", "1", "Age", measure="years"),
        number("sex", "1", "2", "1", "Sex, coded 1 and 2 as in the study"),
        number("bmi", "10.0", "60.0", "0.1", "Body mass index", measure="kg/m2"),
        number("bp", "50.00", "150.00", "0.01", "Mean blood pressure", measure="mmHg"),
        number("s1", "50", "400", "1", "Total serum cholesterol", measure="mg/dl"),
        number("s2", "20.0", "300.0", "0.1", "Low-density lipoproteins", measure="mg/dl"),
        number("s3", "10.0", "120.0", "0.5", "High-density lipoproteins", measure="mg/dl"),
        number("s4", "1.00", "12.00", "0.01", "Total cholesterol / HDL"),
        number("s5", "2.0000", "8.0000", "0.0001", "Log of serum triglycerides"),
        number("s6", "40", "200", "1", "Blood sugar", measure="mg/dl"),
        number("target", "0", "400", "1", "Disease progression after one year"),
    ),
    source="scikit-learn load_diabetes(scaled=False); Efron, Hastie, Johnstone, Tibshirani (2004)",
    retention=_RETENTION,
    purposes=(PURPOSE,),
)

FAIR = Card(
    name="survey.fair",
    title="Redbook survey on marriage, 1974",
    description="Answers of married women to a magazine survey (Fair 1978); one row per respondent. Holds a "
    "sensitive column.",
    unit="respondent",
    key=("respondent",),
    normaliser="exact",
    population="survey.respondents",
    rows_per_unit=1,
    row_limit=8_192,
    grade="demonstration",
    columns=(
        Column("respondent", "int", 2, "Number of the answer sheet", low="1", high="8192", step="1", personal=True),
        number("rate_marriage", "1", "5", "1", "How she rates the marriage, 1 very poor .. 5 very good"),
        number("age", "15.0", "60.0", "0.5", "Age, midpoints of classes", measure="years"),
        number("yrs_married", "0.0", "30.0", "0.5", "Years married, midpoints of classes", measure="years"),
        number("children", "0.0", "10.0", "0.5", "Number of children, 5.5 means more than five"),
        number("religious", "1", "4", "1", "How religious, 1 not .. 4 strongly", tier=3),
        number("educ", "9", "20", "1", "Years of schooling: 9 grade school .. 20 advanced degree", measure="years"),
        category("occupation", generators.OCCUPATIONS, "Her occupation (six classes of the codebook)"),
        category("occupation_husb", generators.OCCUPATIONS, "Husband's occupation (same classes)"),
        number("affairs", "0.00", "60.00", "0.01", "Time spent in extramarital affairs (Fair's measure)", tier=3),
    ),
    source="statsmodels.datasets.fair; R. C. Fair, A Theory of Extramarital Affairs, JPE 86 (1978)",
    retention=_RETENTION,
    purposes=(PURPOSE,),
)

CUSTOMERS = Card(
    name="city_bank.customers",
    title="Customers of City Bank",
    description="Retail customers, invented by a seeded generator; one row per customer.",
    unit="customer",
    key=("customer_id",),
    normaliser="exact",
    population="city_bank.customers",
    rows_per_unit=1,
    row_limit=131_072,
    grade="demonstration",
    columns=(
        Column("customer_id", "int", 2, "Customer number", low="1", high="999999", step="1", personal=True),
        number("age", "18", "110", "1", "Age", measure="years"),
        number("income", "0", "200000", "100", "Yearly income before tax", measure="EUR"),
        category("region", generators.REGIONS, "Region of residence"),
        category("segment", generators.SEGMENTS, "Kind of account"),
        number("balance", "-20000", "200000", "10", "Balance at the end of the year", measure="EUR"),
        number("products", "1", "8", "1", "Products held"),
        number("tenure", "0", "60", "1", "Years as a customer", measure="years"),
        Column("digital", "bool", 2, "Uses the app", personal=True),
        Column("churned", "bool", 2, "Left within the year", personal=True),
    ),
    source="Seeded generator cloister.demo.generators.customers",
    retention=_RETENTION,
    purposes=(PURPOSE,),
)

CARDS = (VISITS, DIABETES, FAIR, CUSTOMERS)
