"""A contract that uses every optional clause, and the keys that sign it."""

from __future__ import annotations

import msgspec
from test_contract_signing import ANALYST, BROKER, CARD, CONTRACT, EXITS, PROVIDER, STRANGER

from cloister.contract import packs
from cloister.contract.card import Labels
from cloister.contract.clauses import Access, Approver, Obligation, PackTerms, RowLimit, Software, Tariff
from cloister.wire.identity import SigningKey

__all__ = ["ANALYST", "BROKER", "CARD", "CONTRACT", "PROVIDER", "STRANGER"]

CARLA, DAN = SigningKey.generate(), SigningKey.generate()
FORMER = "sha256:" + "7" * 64
LABELLED = msgspec.structs.replace(CARD, labels=Labels(importance="general"))
ACCESS = Access(
    "ana",
    "clinic.visits",
    ("age", "sex", "day"),
    (RowLimit("sex", ("f",)), RowLimit("day", low="2023-01-01", high="2023-12-31"), RowLimit("age", low="18")),
    ("research",),
    "2026-02-01T00:00:00Z",
    "2026-03-01T00:00:00Z",
)
WHOLE = msgspec.structs.replace(
    CONTRACT,
    exits=EXITS,
    algorithms=("LinearRegression@1",),
    operations=("aggregate", "model"),
    access=(ACCESS,),
    approvers=(Approver("carla", CARLA.did, "clinic"), Approver("dan", DAN.did, "clinic")),
    pack=PackTerms("pboc-draft-2023", packs.load("pboc-draft-2023").digest),
    obligations=(
        Obligation("export", "approval"),
        Obligation("completion", "destroy-keys"),
        Obligation("expiry", "destroy-keys"),
    ),
    tariffs=(Tariff("clinic-broker", "CNY", "1", "0.5", "0.01", "20"),),
    amends=FORMER,
    hosts=("chip:" + "5" * 128, "operator:CN=cloud.example"),
    software=Software((DAN.did,), "1.4.2", 30),
    display_mark=True,
)
