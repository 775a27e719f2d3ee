from __future__ import annotations

import pytest
from attest_world import AttestWorld


@pytest.fixture
def attest_world() -> AttestWorld:
    return AttestWorld()
