"""Software releases: which code a contract's signers, versions and times make acceptable, and which it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from attest_world import CONTRACT, ENV, NOW, AttestWorld
from test_hardware_appraisal import APPROVED, claims, policy

from cloister.attest import releases
from cloister.attest.agreed import Agreed, policy_for
from cloister.attest.appraise import appraise, decide
from cloister.attest.evidence import Claims
from cloister.attest.policy import Policy
from cloister.attest.releases import Highest, References, SoftwareRelease, SoftwareRules
from cloister.errors import CloisterError, MalformedError, SignatureError, TrustError
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal
from cloister.wire.identity import SigningKey

SIGNER = SigningKey.from_bytes(b"r" * 32)
OTHER = SigningKey.from_bytes(b"o" * 32)
OLD_ENV = "sha384:" + "d" * 96
LAUNCH = tuple(APPROVED)
replace = msgspec.structs.replace


def release(version: str = "1.1", env: str = ENV, **changes: Any) -> SoftwareRelease:
    made = SoftwareRelease(
        version, SIGNER.did, env, "2026-11-01T00:00:00Z", (References("tdx", LAUNCH, covers_code=True),)
    )
    return replace(made, **changes)


def signed(*stated: SoftwareRelease) -> tuple[Envelope, ...]:
    return tuple(releases.sign_release(one, SIGNER) for one in stated)


def rules(*documents: Envelope, **changes: Any) -> SoftwareRules:
    made = SoftwareRules((SIGNER.did,), "1.0", timedelta(days=7), documents or signed(release()), "sha256:mine")
    return replace(made, **changes)


def code(agreed: Agreed, found: Claims | None = None, rule: Policy | None = None, now: datetime = NOW) -> str:
    """Return the version that is accepted, "accepted" without one, or the code of the refusal."""
    shown, judged = found or claims(), rule or policy(reference={"launch": [], "env_digest": []})
    try:
        applied, accepted = policy_for(shown, judged, agreed, now)
        decide(appraise(shown, applied, contract=CONTRACT), shown, applied, accept_simulated=False)
    except CloisterError as error:
        return error.code
    return accepted.version if accepted else "accepted"


def test_a_release_approves_code_that_no_policy_lists() -> None:
    assert code(Agreed(software=rules())) == "1.1"
    assert code(Agreed()) == "appraisal.env_digest"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"documents": ()}, "release.unknown"),
        ({"documents": signed(release(env=OLD_ENV))}, "release.unknown"),
        ({"signers": (OTHER.did,)}, "release.signer"),
        ({"minimum": "1.2"}, "release.minimum"),
        ({"minimum": "1.1.0.0"}, "1.1"),
        ({"minimum": "1.10"}, "release.minimum"),
        ({"documents": signed(release(not_before="2026-12-01T00:00:00Z"))}, "release.early"),
        ({"documents": signed(release(policies=("sha256:other",)))}, "release.policy"),
        ({"documents": signed(release(policies=("sha256:other", "sha256:mine")))}, "1.1"),
    ],
)  # fmt: skip
def test_what_a_contract_does_not_accept(changes: dict[str, Any], wanted: str) -> None:
    assert code(Agreed(software=replace(rules(), **changes))) == wanted


def test_the_measurements_of_a_release_count_and_those_of_the_policy_do_not() -> None:
    # With the clause a policy's own list is no way around signers, versions and times.
    listed = policy()
    assert code(Agreed(), rule=listed) == "accepted"
    assert code(Agreed(software=rules(documents=())), rule=listed) == "release.unknown"
    for launch in ({"mr_td": "00"}, {"rtmr2": "00"}):
        other = claims(launch={**claims().launch, **launch})
        assert code(Agreed(software=rules()), other) == "appraisal.warning"
    assert code(Agreed(software=rules()), rule=policy(reference={"denied": ["rtmr2=cc"]})) == "appraisal.measurement"


def test_measurements_that_do_not_cover_the_code_on_disk_never_affirm() -> None:
    loose = release(references=(References("tdx", LAUNCH),))
    assert code(Agreed(software=rules(*signed(loose)))) == "appraisal.warning"
    # Nor does a release that measured another TEE only.
    assert code(Agreed(software=rules(*signed(release(references=()))))) == "appraisal.warning"


def test_old_and_new_run_side_by_side_for_a_while_and_then_no_rollback() -> None:
    both = signed(release("1.0", OLD_ENV), release("1.1"))
    since = Highest("1.1", "2026-11-20T00:00:00Z")
    old = claims(env_digest=OLD_ENV)
    upgraded = Agreed(software=rules(*both, highest=since))
    end = datetime(2026, 11, 27, tzinfo=UTC)
    assert code(upgraded, old, now=end) == "1.0"
    assert code(upgraded, now=end) == "1.1"
    assert code(upgraded, old, now=end + timedelta(seconds=1)) == "release.rollback"
    assert code(upgraded, now=end + timedelta(days=900)) == "1.1"
    # Without a higher version admitted there is nothing to go back from.
    assert code(Agreed(software=rules(*both)), old, now=end + timedelta(days=900)) == "1.0"
    assert code(Agreed(software=rules(*both, highest=since, minimum="1.1")), old, now=end) == "release.minimum"
    # The newer release is not even here any more: what was admitted is remembered.
    assert code(Agreed(software=rules(both[0], highest=since)), old, now=end + timedelta(days=1)) == "release.rollback"


def test_a_veto_beats_every_approval() -> None:
    vetoed = {ENV: "leaks"}
    assert code(Agreed(software=rules(), vetoed=vetoed)) == "release.vetoed"
    assert code(Agreed(vetoed=vetoed), rule=policy()) == "release.vetoed"


def test_hosts_and_tenancy_are_the_contracts_word_beside_the_policy() -> None:
    here = claims().signer
    open_policy = policy()
    assert code(Agreed(hosts=(here,)), rule=open_policy) == "accepted"
    assert code(Agreed(hosts=("chip:other",)), rule=open_policy) == "appraisal.instance"
    # A policy that names hosts and a contract that names others leave none, which is not the same as any.
    assert code(Agreed(hosts=(here,)), rule=policy(instance={"allow": ["chip:x"]})) == "appraisal.instance"
    assert code(Agreed(hosts=("chip:x",)), rule=policy(instance={"allow": [here]})) == "appraisal.instance"
    assert code(Agreed(exclusive=True), rule=open_policy) == "appraisal.tenancy"
    digest = CONTRACT.removeprefix("sha256:")
    alone = claims(platform={"details": {"mr_config_id": digest + "00" * 16}})
    assert code(Agreed(exclusive=True), alone, open_policy) == "accepted"


# The document -----------------------------------------------------------------------------------------


def forged(stated: SoftwareRelease, key: SigningKey) -> Envelope:
    return seal(releases.RELEASE_TYPE, canonical.encode(stated), key)


def test_a_release_is_signed_by_the_signer_it_names() -> None:
    document = forged(release(), OTHER)
    with pytest.raises(SignatureError):
        releases.open_release(document)
    assert code(Agreed(software=rules(document))) == "signature.missing"
    with pytest.raises(TrustError) as excinfo:
        releases.sign_release(release(), OTHER)
    assert excinfo.value.code == "release.signer"
    # Another type of document by the right signer is no release.
    with pytest.raises(SignatureError):
        releases.open_release(seal("application/json", canonical.encode(release()), SIGNER))


def test_one_bad_document_hides_no_good_one() -> None:
    good = signed(release())[0]
    broken = replace(good, payload="AAAA")
    assert code(Agreed(software=rules(broken, forged(release("9.0"), OTHER), good))) == "1.1"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.x"}, {"version": ""}, {"version": "1.2.3.4.5"}, {"version": "-1"},
        {"env_digest": "sha256:" + "a" * 64}, {"not_before": "soon"},
        {"references": (References("tdx", LAUNCH[:-1]),)}, {"references": (References("new", ("a=1",)),)},
        {"references": (References("tdx", LAUNCH), References("tdx", LAUNCH))},
    ],
)  # fmt: skip
def test_a_release_that_says_nothing_is_neither_signed_nor_read(changes: dict[str, Any]) -> None:
    wrong = release(**changes)
    with pytest.raises(MalformedError) as excinfo:
        releases.sign_release(wrong, SIGNER)
    assert excinfo.value.code.startswith("release.")
    with pytest.raises(MalformedError):
        releases.open_release(forged(wrong, SIGNER))


def test_versions_are_numbers() -> None:
    ordered = ["0", "0.9", "0.10", "1", "1.0.1", "2", "10"]
    assert sorted(ordered, key=releases.version_key) == ordered
    assert releases.version_key("1.0") == releases.version_key("1")


def test_the_offer_of_an_enclave_is_judged_with_what_was_agreed(attest_world: AttestWorld) -> None:
    bare = attest_world.policy(env_digests=())
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    found = attest_world.judge(channel, offer, policy=bare, agreed=Agreed(software=rules()))
    assert found.release is not None
    assert found.release.version == "1.1"
    for agreed, wanted in ((Agreed(software=rules(documents=())), "release.unknown"), (None, "appraisal.env_digest")):
        channel = attest_world.relying_party()
        _, offer = attest_world.enclave(channel.hello)
        with pytest.raises(TrustError) as excinfo:
            attest_world.judge(channel, offer, policy=bare, agreed=agreed)
        assert excinfo.value.code == wanted
