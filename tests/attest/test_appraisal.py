"""Evidence, appraisal and EAR: what a simulator may be, what tampering does to it, and what a policy refuses."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from attest_world import CONTRACT, ENV, NOW, VERIFIERS, AttestWorld, seal_report
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloister.attest import ear, simulator, verifiers
from cloister.attest.appraise import CLAIM_NAMES, SIMULATED_CLAIMS, appraise, decide, tier, worst
from cloister.attest.binding import report_data
from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.policy import parse_policy, policy_digest, write_policy
from cloister.attest.simulator import SignedReport
from cloister.errors import CloisterError, MalformedError, SignatureError, TrustError
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

BINDING = report_data(b"b" * 48)


def verify(evidence: Evidence) -> Claims:
    return simulator.verify(evidence, BINDING, {}, NOW)


# --- simulator evidence


def test_honest_evidence_is_simulated(attest_world: AttestWorld) -> None:
    claims = verify(attest_world.attest(BINDING))
    assert (claims.assurance, claims.debug, claims.signer) == ("simulated", False, attest_world.install.did)
    assert claims.warnings


def test_no_byte_of_the_evidence_can_be_flipped(attest_world: AttestWorld) -> None:
    evidence = attest_world.attest(BINDING)
    data = unb64(evidence.blob)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        with pytest.raises(RejectedError) as excinfo:
            verify(msgspec.structs.replace(evidence, blob=b64(bytes(flipped))))
        assert excinfo.value.code in ("evidence.malformed", "evidence.signature", "evidence.binding")


def test_no_character_of_the_blob_can_be_changed(attest_world: AttestWorld) -> None:
    evidence = attest_world.attest(BINDING)
    for position in range(0, len(evidence.blob), 3):
        other = "A" if evidence.blob[position] != "A" else "B"
        changed = evidence.blob[:position] + other + evidence.blob[position + 1 :]
        with pytest.raises(RejectedError):
            verify(msgspec.structs.replace(evidence, blob=changed))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": "simulator/v2"}, "evidence.format"),
        ({"tee": "tdx"}, "evidence.format"),
        ({"endorsements": {"x": "QQ=="}}, "evidence.format"),
        ({"blob": ""}, "evidence.malformed"),
        ({"blob": "!"}, "evidence.malformed"),
        ({"blob": b64(b"[" * 10_000)}, "evidence.malformed"),
        ({"blob": b64(b"x" * 100_000)}, "evidence.malformed"),
    ],
)
def test_malformed_evidence(attest_world: AttestWorld, change: dict[str, object], code: str) -> None:
    with pytest.raises(RejectedError) as excinfo:
        verify(msgspec.structs.replace(attest_world.attest(BINDING), **change))
    assert excinfo.value.code == code


def test_evidence_has_one_spelling(attest_world: AttestWorld) -> None:
    evidence = attest_world.attest(BINDING)
    for spelled in (unb64(evidence.blob) + b" ", unb64(evidence.blob).replace(b'"debug":', b'"debug": ')):
        with pytest.raises(RejectedError) as excinfo:
            verify(msgspec.structs.replace(evidence, blob=b64(spelled)))
        assert excinfo.value.code == "evidence.malformed"


def test_report_of_one_and_signature_of_another(attest_world: AttestWorld) -> None:
    one = msgspec.json.decode(unb64(attest_world.attest(BINDING).blob), type=SignedReport)
    attest_world.changes = {"debug": True}
    other = msgspec.json.decode(unb64(attest_world.attest(BINDING).blob), type=SignedReport)
    spliced = SignedReport(one.report, one.signer, other.signature)
    with pytest.raises(RejectedError) as excinfo:
        verify(Evidence("simulator", simulator.FORMAT, b64(canonical.encode(spliced))))
    assert excinfo.value.code == "evidence.signature"


def test_evidence_over_another_binding(attest_world: AttestWorld) -> None:
    with pytest.raises(RejectedError) as excinfo:
        verify(attest_world.attest(report_data(b"c" * 48)))
    assert excinfo.value.code == "evidence.binding"


def test_signature_of_another_purpose_is_worthless(attest_world: AttestWorld) -> None:
    signed = msgspec.json.decode(unb64(attest_world.attest(BINDING).blob), type=SignedReport)
    elsewhere = attest_world.install.sign("cloister/analyst/v1", canonical.encode(signed.report))
    blob = b64(canonical.encode(SignedReport(signed.report, signed.signer, b64(elsewhere))))
    with pytest.raises(RejectedError):
        verify(Evidence("simulator", simulator.FORMAT, blob))


# --- the registry of verifiers


def test_simulator_is_found_by_entry_point() -> None:
    assert verifiers.installed()["simulator"] is simulator.verify


def test_unknown_tee_is_refused(attest_world: AttestWorld) -> None:
    evidence = msgspec.structs.replace(attest_world.attest(BINDING), tee="vapour")
    with pytest.raises(RejectedError) as excinfo:
        verifiers.verify(evidence, BINDING, NOW, verifiers=VERIFIERS)
    assert excinfo.value.code == "evidence.tee"


def test_a_verifier_that_breaks_admits_nobody(attest_world: AttestWorld) -> None:
    def broken(*_: object) -> Claims:
        raise ZeroDivisionError

    with pytest.raises(RejectedError) as excinfo:
        verifiers.verify(attest_world.attest(BINDING), BINDING, NOW, verifiers={"simulator": broken})
    assert excinfo.value.code == "evidence.malformed"


def test_a_verifier_that_forgets_the_binding_admits_nobody(attest_world: AttestWorld) -> None:
    honest = verify(attest_world.attest(BINDING))
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    with pytest.raises(RejectedError) as excinfo:
        attest_world.judge(channel, offer, verifiers={"simulator": lambda *_: honest})
    assert excinfo.value.code == "evidence.binding"


# --- appraisal


def claims_of(world: AttestWorld, **changes: object) -> Claims:
    return msgspec.structs.replace(verify(world.attest(BINDING)), **changes)


def test_simulator_is_contraindicated_whatever_it_says(attest_world: AttestWorld) -> None:
    policy = attest_world.policy(instances=(attest_world.install.did,))
    vector = appraise(claims_of(attest_world, launch={"mrtd": "approved"}), policy, contract=CONTRACT)
    assert vector.status == "contraindicated"
    assert {name: vector.value(name) for name in SIMULATED_CLAIMS} == SIMULATED_CLAIMS
    assert vector.value("file-system") == 33  # the simulator's word for its own code never affirms
    assert tuple(vector.values) == CLAIM_NAMES


@pytest.mark.parametrize(
    ("claims", "policy", "code"),
    [
        ({"debug": True}, {}, "appraisal.debug"),
        ({"env_digest": "sha384:" + "0" * 96}, {}, "appraisal.env_digest"),
        ({}, {"env_digests": ()}, "appraisal.env_digest"),
        ({"contract": "sha256:" + "0" * 64}, {}, "appraisal.contract"),
        ({}, {"instances": ("did:key:someone",)}, "appraisal.instance"),
        ({}, {"simulated": False}, "appraisal.simulated"),
        ({}, {"tees": ("tdx",)}, "appraisal.tee"),
        ({"runtime": {"isolation": {"level": "none"}}}, {"isolation": "reduced"}, "appraisal.isolation"),
        ({"runtime": {"isolation": {"level": "reduced"}}}, {"isolation": "full"}, "appraisal.isolation"),
        ({"runtime": {}}, {"isolation": "reduced"}, "appraisal.isolation"),
        ({"runtime": {"isolation": "full"}}, {"isolation": "reduced"}, "appraisal.isolation"),
    ],
)
def test_policy_refuses(
    attest_world: AttestWorld, claims: dict[str, object], policy: dict[str, object], code: str
) -> None:
    found, rules = claims_of(attest_world, **claims), attest_world.policy(**policy)
    with pytest.raises(TrustError) as excinfo:
        decide(appraise(found, rules, contract=CONTRACT), found, rules, accept_simulated=True)
    assert excinfo.value.code == code


def test_simulated_needs_the_explicit_choice_too(attest_world: AttestWorld) -> None:
    found, rules = claims_of(attest_world), attest_world.policy()
    vector = appraise(found, rules, contract=CONTRACT)
    decide(vector, found, rules, accept_simulated=True)
    with pytest.raises(TrustError) as excinfo:
        decide(vector, found, rules, accept_simulated=False)
    assert excinfo.value.code == "appraisal.simulated"


def test_a_simulator_is_excused_for_being_one_and_for_nothing_else(attest_world: AttestWorld) -> None:
    found, rules = claims_of(attest_world), attest_world.policy()
    vector = appraise(found, rules, contract=CONTRACT)
    worse = tuple(
        msgspec.structs.replace(result, value=99) if result.claim == "hardware" else result for result in vector.results
    )
    with pytest.raises(TrustError):
        decide(msgspec.structs.replace(vector, results=worse), found, rules, accept_simulated=True)


def test_hardware_is_genuine_only_if_everything_affirms(attest_world: AttestWorld) -> None:
    launch = {"mr_td": "aa", "rtmr0": "00", "rtmr1": "bb", "rtmr2": "cc", "rtmr3": "dd"}
    found = claims_of(attest_world, assurance="hardware", tee="tdx", launch=launch, warnings=())
    found = msgspec.structs.replace(found, platform={"details": {"tcb_eval_num": 17}})
    approved = parse_policy(
        write_policy("hw", tees=("tdx",), simulated=False, env_digests=(ENV,)).replace(
            "[reference]", '[reference]\nlaunch = ["mr_td=aa", "rtmr0=00", "rtmr1=bb", "rtmr2=cc"]\ncovers_code = true'
        )
        + "\n[hardware]\nevaluation = 17\n"
    )
    decide(appraise(found, approved, contract=CONTRACT), found, approved, accept_simulated=False)
    unapproved = parse_policy(write_policy("hw", tees=("tdx",), simulated=True, env_digests=(ENV,)))
    with pytest.raises(TrustError) as excinfo:  # env_digest alone proves nothing about who computed it
        decide(appraise(found, unapproved, contract=CONTRACT), found, unapproved, accept_simulated=True)
    assert excinfo.value.code == "appraisal.warning"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1, "none"), (0, "none"), (2, "affirming"), (31, "affirming"), (32, "warning"), (95, "warning"),
     (96, "contraindicated"), (99, "contraindicated"), (-5, "contraindicated"), (1000, "contraindicated")],
)  # fmt: skip
def test_tiers(value: int, expected: str) -> None:
    assert tier(value) == expected


def test_worst_tier_wins() -> None:
    assert worst(["affirming", "warning", "none"]) == "warning"
    assert worst([]) == "none"


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        'name = "x"',
        'name = "x"\nversion = 2\n[accept]\ntees = []',
        'name = "x"\n[accept]\ntees = []\n[surprise]\n',
        'name = "x"\n[accept]\ntees = []\nsimulated = "yes"',
        "x" * 100_000,
    ],
)
def test_unreadable_policies_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_policy(text)


def test_written_policies_read_back() -> None:
    text = write_policy('od"d\n', tees=("simulator",), simulated=True, env_digests=(ENV,), instances=("did:key:é",))
    policy = parse_policy(text)
    assert (policy.name, policy.reference.env_digest, policy.instance.allow) == ('od"d\n', (ENV,), ("did:key:é",))
    assert policy_digest(text) != policy_digest(text + " ")


# --- EAR


@pytest.fixture
def issued(attest_world: AttestWorld) -> tuple[str, str, dict[str, object]]:
    channel = attest_world.relying_party()
    _, offer = attest_world.enclave(channel.hello)
    appraisal = attest_world.judge(channel, offer)
    key = Ed25519PrivateKey.from_private_bytes(b"v" * 32)
    did = SigningKey.from_bytes(b"v" * 32).did
    token = ear.issue(ear.payload(appraisal, "sha256:policy", NOW, "0.1.0"), key)
    given = {
        "now": NOW,
        "max_age": timedelta(minutes=5),
        "binding": appraisal.binding,
        "policy_digest": "sha256:policy",
    }
    return token, did, given


def test_ear_round_trip(issued: tuple[str, str, dict[str, object]]) -> None:
    token, did, given = issued
    claims = ear.verify(token, did, **given)
    (submod,) = claims["submods"].values()
    assert submod["ear.status"] == "contraindicated"
    assert submod["cloister.assurance"] == "simulated"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"now": NOW + timedelta(hours=1)}, "ear.age"),
        ({"now": NOW - timedelta(hours=1)}, "ear.age"),
        ({"binding": b"x" * 48}, "ear.binding"),
        ({"policy_digest": "sha256:other"}, "ear.policy"),
    ],
)
def test_ear_of_another_time_exchange_or_policy(
    issued: tuple[str, str, dict[str, object]], change: dict[str, object], code: str
) -> None:
    token, did, given = issued
    with pytest.raises(CloisterError) as excinfo:
        ear.verify(token, did, **{**given, **change})
    assert excinfo.value.code == code


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256", "eddsa"])
def test_ear_algorithm_is_pinned(issued: tuple[str, str, dict[str, object]], alg: str) -> None:
    token, did, given = issued
    header = ear._b64url(msgspec.json.encode({"alg": alg, "typ": "JWT"}))
    with pytest.raises(SignatureError) as excinfo:
        ear.verify(".".join([header, *token.split(".")[1:]]), did, **given)
    assert excinfo.value.code == "ear.algorithm"


def test_ear_byte_flips_are_refused(issued: tuple[str, str, dict[str, object]]) -> None:
    token, did, given = issued
    for position in range(0, len(token), 11):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(CloisterError):
            ear.verify(token[:position] + other + token[position + 1 :], did, **given)


def test_ear_by_another_signer(issued: tuple[str, str, dict[str, object]]) -> None:
    token, _, given = issued
    with pytest.raises(SignatureError):
        ear.verify(token, SigningKey.generate().did, **given)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.update(submods={}), "ear.empty"),
        (lambda c: c["submods"]["simulator"].update({"ear.status": "affirming"}), "ear.status"),
        (lambda c: c["submods"]["simulator"]["ear.trustworthiness-vector"].pop("hardware"), "ear.malformed"),
        (lambda c: c.update(eat_profile="tag:other"), "ear.malformed"),
    ],
)
def test_ear_that_contradicts_itself(
    attest_world: AttestWorld, issued: tuple[str, str, dict[str, object]], change: object, code: str
) -> None:
    token, did, given = issued
    claims = ear.verify(token, did, **given)
    change(claims)
    forged = ear.issue(claims, Ed25519PrivateKey.from_private_bytes(b"v" * 32))
    with pytest.raises(CloisterError) as excinfo:
        ear.verify(forged, did, **given)
    assert excinfo.value.code == code


def test_signed_reports_differ_by_install(attest_world: AttestWorld) -> None:
    signed = msgspec.json.decode(unb64(attest_world.attest(BINDING).blob), type=SignedReport)
    other = seal_report(SigningKey.generate(), signed.report)
    assert verify(other).signer != attest_world.install.did
