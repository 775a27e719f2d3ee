"""Genuine hardware under a policy: what makes it affirming, what warns, what is contraindicated, on the whole path."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import amd_world as amd
import msgspec
import pytest
from attest_world import CONTRACT, ENV, AttestWorld
from intel_world import NOW as INTEL_NOW
from intel_world import IntelWorld
from tee_world import vector

from cloister.attest import ear, roots, verifiers
from cloister.attest.appraise import appraise, decide
from cloister.attest.encoding import b64, unb64
from cloister.attest.evidence import Claims, Evidence, completed
from cloister.attest.policy import COMPONENTS, Policy, parse_policy
from cloister.attest.references import CODE_REGISTERS, covered
from cloister.attest.tee import tdx, vek
from cloister.attest.tee.examined import conclude
from cloister.errors import CloisterError, TrustError

LAUNCH = {"mr_td": "aa", "rtmr0": "00", "rtmr1": "bb", "rtmr2": "cc", "rtmr3": "dd"}
LEAST = {"bl": 3, "tee": 1, "snp": 8, "ucode": 115}
APPROVED = ("mr_td=aa", "rtmr0=00", "rtmr1=bb", "rtmr2=cc")


def claims(**changes: Any) -> Claims:
    platform: dict[str, Any] = {"tcb_status": "UpToDate", "advisories": [], "tcb": {}, "details": {"tcb_eval_num": 17}}
    given = changes.pop("platform", {})
    platform |= {**given, "details": {**platform["details"], **given.get("details", {})}}
    fields = {
        "tee": "tdx", "assurance": "hardware", "debug": False, "launch": LAUNCH, "env_digest": ENV,
        "contract": CONTRACT, "report_data": "00", "signer": "ppid:01", "runtime": {}, "platform": platform, **changes,
    }  # fmt: skip
    return Claims(**fields)


def policy(**sections: Mapping[str, Any]) -> Policy:
    reference = {"env_digest": [ENV], "launch": list(APPROVED), "covers_code": True, **sections.pop("reference", {})}
    accept = {"tees": ["tdx", "sgx", "snp"], **sections.pop("accept", {})}
    hardware = {"evaluation": 15, **sections.pop("hardware", {})}
    found = {"name": "hw", "accept": accept, "reference": reference, "hardware": hardware, **sections}
    return msgspec.convert(found, type=Policy)


def outcome(found: Claims, rules: Policy) -> str:
    vector = appraise(found, rules, contract=CONTRACT)
    try:
        decide(vector, found, rules, accept_simulated=False)
    except TrustError as error:
        return error.code
    return vector.status


def test_approved_code_on_a_sound_platform_is_affirming() -> None:
    assert outcome(claims(), policy()) == "affirming"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"debug": True}, "appraisal.debug"),
        ({"contract": "sha256:" + "0" * 64}, "appraisal.contract"),
        ({"env_digest": "sha384:" + "0" * 96}, "appraisal.env_digest"),
        ({"launch": {**LAUNCH, "mr_td": "ab"}}, "appraisal.warning"),
        ({"launch": {**LAUNCH, "rtmr0": "ab"}}, "appraisal.warning"),
        ({"launch": {**LAUNCH, "rtmr1": "ab"}}, "appraisal.warning"),
        ({"launch": {**LAUNCH, "rtmr2": "ab"}}, "appraisal.warning"),
        ({"launch": {"mr_td": "aa"}}, "appraisal.warning"),
        ({"launch": {}}, "appraisal.warning"),
        ({"warnings": ("something",)}, "appraisal.warning"),
        ({"platform": {"tcb_status": "OutOfDate"}}, "appraisal.tcb"),
        ({"platform": {"tcb_status": "SWHardeningNeeded"}}, "appraisal.tcb"),
        ({"platform": {"tcb_status": "Revoked"}}, "appraisal.tcb"),
        ({"platform": {"advisories": ["INTEL-SA-1"]}}, "appraisal.tcb"),
        ({"platform": {"details": {"migratable": True}}}, "appraisal.migratable"),
        ({"platform": {"details": {"vmpl": 1}}}, "appraisal.vmpl"),
        ({"platform": {"details": {"vmpl": "0"}}}, "appraisal.vmpl"),
        ({"platform": {"tcb": {"snp": 8}}}, "appraisal.tcb"),
    ],
)
def test_what_a_policy_does_not_accept(changes: dict[str, Any], code: str) -> None:
    assert outcome(claims(**changes), policy()) == code


@pytest.mark.parametrize(
    ("changes", "hardware", "code"),
    [
        ({"platform": {"tcb_status": "OutOfDate"}}, {"tcb_status": ["UpToDate", "OutOfDate"]}, "affirming"),
        ({"platform": {"tcb_status": "OutOfDate", "advisories": ["A"]}},
         {"tcb_status": ["OutOfDate"]}, "appraisal.tcb"),
        ({"platform": {"tcb_status": "OutOfDate", "advisories": ["A"]}},
         {"tcb_status": ["OutOfDate"], "advisories": ["A"]}, "affirming"),
        ({"platform": {"tcb_status": "OutOfDate", "advisories": ["A", "B"]}},
         {"tcb_status": ["OutOfDate"], "advisories": ["A"]}, "appraisal.tcb"),
        ({"platform": {"tcb_status": "Revoked"}}, {"tcb_status": ["Revoked"]}, "appraisal.tcb"),
        ({}, {"evaluation": 17}, "affirming"),
        ({}, {"evaluation": 18}, "appraisal.collateral"),
        ({}, {"evaluation": 0}, "appraisal.collateral"),
        ({"platform": {"details": {"tcb_eval_num": None}}}, {"evaluation": 1}, "appraisal.collateral"),
        ({"platform": {"details": {"vmpl": 1}}}, {"vmpl": 1}, "affirming"),
        ({"warnings": ("a", "b")}, {"warnings": ["a", "b"]}, "affirming"),
        ({"warnings": ("a", "b")}, {"warnings": ["a"]}, "appraisal.warning"),
    ],
)  # fmt: skip
def test_what_a_policy_decides_about_platforms(changes: dict[str, Any], hardware: dict[str, Any], code: str) -> None:
    assert outcome(claims(**changes), policy(hardware=hardware)) == code


def versions(product: str = "Milan", least: Mapping[str, Any] | None = None, **report: Any) -> str:
    """Return the outcome for an SNP guest of a product under least versions."""
    examined = amd.examine(amd.report(product, **report), amd.vek(product))
    found = completed(conclude(examined, amd.REPORT_DATA), ENV, CONTRACT)
    reference = {"launch": [f"measurement={found.launch['measurement']}"]}
    rules = {"minimum_tcb": {"Milan": LEAST} if least is None else least, "warnings": list(found.warnings)}
    return outcome(found, policy(reference=reference, hardware=rules))


def test_an_amd_guest_at_the_least_versions_is_affirming() -> None:
    # Nobody asks it for the age of Intel's collateral.
    assert versions() == "affirming"


@pytest.mark.parametrize("name", list(LEAST))
def test_every_version_of_an_amd_guest_reaches_the_least(name: str) -> None:
    """Reported, committed (where the host may go back to) and at launch (where the guest's memory began)."""
    assert versions(least={"Milan": LEAST | {name: LEAST[name] + 1}}) == "appraisal.tcb"
    older = amd.TCB | {name: LEAST[name] - 1}
    assert versions(committed=older) == "appraisal.tcb"
    assert versions(launch=older) == "appraisal.tcb"


def test_least_versions_are_of_one_product_and_of_all_components() -> None:
    assert versions(least={}) == "appraisal.tcb"
    assert versions(least={"Genoa": LEAST}) == "appraisal.tcb"
    assert versions("Genoa", least={"Milan": LEAST, "Genoa": LEAST | {"ucode": 116}}) == "appraisal.tcb"
    # Turin has one component more; what a policy does not name, nobody judged.
    assert versions("Turin", least={"Turin": LEAST}) == "appraisal.tcb"
    assert versions("Turin", least={"Turin": LEAST | {"fmc": 2}}) == "affirming"
    for product, names in COMPONENTS.items():
        assert set(vek.tcb_parts(bytes(8), product)) == names


def test_a_guest_without_versions_is_below_any() -> None:
    bare = claims(tee="snp", launch={"measurement": "aa"}, platform={"details": {"product": "Milan"}})
    approved = {"launch": ["measurement=aa"]}
    for least in ({}, {"Milan": LEAST}):
        assert outcome(bare, policy(reference=approved, hardware={"minimum_tcb": least})) == "appraisal.tcb"


def test_the_age_of_collateral_is_asked_of_intel() -> None:
    for tee in ("sgx", "tdx", "azure-vtpm-tdx"):
        found = appraise(claims(tee=tee), policy(hardware={"evaluation": 0}), contract=CONTRACT)
        assert found.value("hardware") == 32


def test_a_denied_measurement_is_contraindicated_even_if_approved() -> None:
    assert outcome(claims(), policy(reference={"denied": ["rtmr2=cc"]})) == "appraisal.measurement"


def test_an_empty_set_of_references_never_affirms() -> None:
    assert outcome(claims(), policy(reference={"launch": []})) == "appraisal.warning"


def test_a_boot_measurement_counts_for_files_only_if_the_policy_says_it_covers_them() -> None:
    assert outcome(claims(), policy(reference={"covers_code": False})) == "appraisal.warning"
    # MRENCLAVE covers every file by itself.
    rules = policy(reference={"covers_code": False, "launch": ["mr_enclave=ee"]})
    assert outcome(claims(tee="sgx", launch={"mr_enclave": "ee", "mr_signer": "ff"}), rules) == "affirming"


def test_allowed_hosts() -> None:
    assert outcome(claims(), policy(instance={"allow": ["ppid:01"]})) == "affirming"
    assert outcome(claims(), policy(instance={"allow": ["ppid:02"]})) == "appraisal.instance"


@pytest.mark.parametrize(
    ("tee", "field", "size"), [("tdx", "mr_config_id", 48), ("sgx", "config_id", 64), ("snp", "host_data", 32)]
)
def test_a_machine_for_one_contract_alone(tee: str, field: str, size: int) -> None:
    launch = {**LAUNCH, "mr_enclave": "ee", "measurement": "aa"}
    approved = [*APPROVED, "mr_enclave=ee", "measurement=aa"]
    rules = policy(accept={"exclusive": True, "tees": [tee, "new"]}, reference={"launch": approved},
                   hardware={"minimum_tcb": {"Milan": LEAST}})  # fmt: skip
    digest = CONTRACT.removeprefix("sha256:")

    def started_with(value: str | None) -> str:
        details: dict[str, Any] = {} if value is None else {field: value}
        if tee == "snp":
            details |= {"product": "Milan", "tcb_committed": LEAST, "tcb_launch": LEAST}
        tcb = LEAST if tee == "snp" else {}
        return outcome(claims(tee=tee, launch=launch, platform={"tcb": tcb, "details": details}), rules)

    assert started_with(digest + "00" * (size - 32)) == "affirming"
    for other in (None, "00" * size, digest[:-1] + "0" * (2 * size - 63), digest + "00" * (size - 33) + "01"):
        if other != digest:
            assert started_with(other) == "appraisal.tenancy"
    assert outcome(claims(tee="new", launch={"a": "1"}, platform={"details": {field: digest}}), rules) == (
        "appraisal.tenancy"
    )


def test_the_code_of_a_tee_without_a_list_of_registers_is_never_known() -> None:
    assert not covered("new", {"a": "1", "b": "2"}, ("a=1", "b=2", "new:a=1", "new:b=2"))
    assert not covered("new", {}, ("a=1",))
    assert all(registers for registers in CODE_REGISTERS.values())


@pytest.mark.parametrize("tee", ["azure-vtpm-snp", "azure-vtpm-tdx"])
def test_a_guest_does_not_choose_which_registers_of_its_vtpm_are_judged(tee: str) -> None:
    registers = CODE_REGISTERS[tee]
    launch = {name: f"{number:02x}" for number, name in enumerate(registers)}
    approved = [f"{tee}:{name}={value}" for name, value in launch.items()]
    assert covered(tee, launch, approved)
    for name in registers:
        shown = {key: value for key, value in launch.items() if key != name}
        assert not covered(tee, shown, approved)
        assert not covered(tee, launch | {name: "ff"}, approved)
    # Boot loader, its files, a unified kernel and its command line: leaving one out leaves code out.
    assert {"pcr4", "pcr8", "pcr9", "pcr11", "pcr12"} <= set(registers)


def test_what_is_approved_for_one_tee_is_not_approved_for_another() -> None:
    # Azure's paravisor is what its hardware measures; a guest that reports it as its whole is something else.
    paravisor = ["azure-vtpm-snp:measurement=aa", "azure-vtpm-tdx:mr_td=aa"]
    assert not covered("snp", {"measurement": "aa"}, paravisor)
    assert covered("snp", {"measurement": "aa"}, ["snp:measurement=aa"])
    launch = dict.fromkeys(CODE_REGISTERS["azure-vtpm-snp"], "aa")
    assert not covered("azure-vtpm-snp", launch, [f"{name}=aa" for name in launch])
    assert not covered("azure-vtpm-snp", launch, [f"azure-vtpm-tdx:{name}=aa" for name in launch])


def test_a_gpu_alone_is_no_enclave_whatever_a_policy_approves() -> None:
    launch = {"measurement0": "aa"}
    approved = [*APPROVED, "measurement0=aa", "nvidia-gpu:measurement0=aa"]
    rules = policy(accept={"tees": ["nvidia-gpu"]}, reference={"launch": approved})
    # On its own the machine is unknown; and even with a machine's measurements in its mouth a GPU is none.
    for shown in (launch, {**LAUNCH, **launch}):
        assert outcome(claims(tee="nvidia-gpu", launch=shown), rules) == "appraisal.component"
    vector = appraise(claims(tee="nvidia-gpu", launch=launch), rules, contract=CONTRACT)
    assert (vector.value("executables"), vector.value("runtime-opaque")) == (33, 0)


def test_a_measurement_can_be_denied_for_one_tee() -> None:
    assert outcome(claims(), policy(reference={"denied": ["tdx:rtmr2=cc"]})) == "appraisal.measurement"
    assert outcome(claims(), policy(reference={"denied": ["snp:rtmr2=cc"]})) == "affirming"


def test_policies_name_their_hardware_section() -> None:
    text = 'name = "x"\n[accept]\ntees = ["snp"]\n[hardware]\n'
    milan = "minimum_tcb.Milan = { bl = 3, tee = 0, snp = 8, ucode = 1 }\n"
    assert parse_policy(text + milan).hardware.minimum_tcb == {"Milan": {"bl": 3, "tee": 0, "snp": 8, "ucode": 1}}
    swaps = (("Milan", "Rome"), ("Milan", "Turin"), ("tee = 0, ", ""), ("tee", "fmc"))
    for wrong in ("least = 3\n", "minimum_tcb = { snp = 8 }\n", *(milan.replace(*swap) for swap in swaps)):
        with pytest.raises(CloisterError):
            parse_policy(text + wrong)


# --- the whole path: hello, offer with a quote, claims, appraisal, EAR


class Platform:
    """A TDX machine of the test's own Intel, plugged in as attester and verifier of ``tdx``."""

    def __init__(self, **changes: Any) -> None:
        self.world = IntelWorld(**changes)

    def attest(self, report_data: bytes) -> Evidence:
        self.world.report_data = report_data
        collateral = b64(self.world.collateral())
        quote = b64(self.world.quote())
        return Evidence(tee="tdx", format="tdx_quote_v4", blob=quote, endorsements={"collateral": collateral})

    def verify(self, evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
        return conclude(tdx.examine(unb64(evidence.blob), endorsements, self.world.roots, now), binding)

    @property
    def launch(self) -> list[str]:
        launch = self.world.examine().launch
        return [f"{name}={launch[name]}" for name in CODE_REGISTERS["tdx"]]


def meet(platform: Platform, attest_world: AttestWorld, rules: Policy, attest: Any = None) -> Any:
    channel = attest_world.relying_party()
    attest_world.attest = attest or platform.attest  # type: ignore[method-assign]
    _, offer = attest_world.enclave(channel.hello)
    return channel.receive_offer(
        offer, policy=rules, now=INTEL_NOW, accept_simulated=False, verifiers={"tdx": platform.verify}
    )


def test_a_channel_to_genuine_hardware(attest_world: AttestWorld) -> None:
    platform = Platform()
    found = meet(platform, attest_world, policy(reference={"launch": platform.launch}))
    assert (found.status, found.assurance) == ("affirming", "tdx")
    # The evidence names neither; the binding it reports was computed over both.
    assert (found.claims.env_digest, found.claims.contract) == (attest_world.env, CONTRACT)
    submod = ear.payload(found, "sha256:" + "0" * 64, INTEL_NOW, "0")["submods"]["tdx"]
    assert submod["ear.status"] == "affirming"
    assert submod["cloister.platform"]["tcb_status"] == "UpToDate"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"td": {"attributes": bytes.fromhex("0100001000000000")}}, "appraisal.debug"),
        ({"td": {"attributes": bytes.fromhex("0000003000000000")}}, "appraisal.migratable"),
        ({"td": {"attributes": bytes(8)}}, "appraisal.warning"),
        ({"qe": {"svn": 2}}, "appraisal.tcb"),
        ({"revoked_platforms": (3,)}, "evidence.revoked"),
    ],
)
def test_hardware_that_is_not_sound_is_not_used(attest_world: AttestWorld, changes: dict[str, Any], code: str) -> None:
    platform = Platform(**changes)
    with pytest.raises(TrustError) as excinfo:
        meet(platform, attest_world, policy(reference={"launch": Platform().launch}))
    assert excinfo.value.code == code


def test_a_quote_made_for_another_exchange_is_refused(attest_world: AttestWorld) -> None:
    platform = Platform()
    rules = policy(reference={"launch": platform.launch})
    stored = platform.attest(bytes(64))
    with pytest.raises(TrustError) as excinfo:
        meet(platform, attest_world, rules, attest=lambda data: stored)
    assert excinfo.value.code == "evidence.binding"


def test_a_verifier_speaks_for_its_own_tee_only() -> None:
    evidence = Evidence(tee="tdx", format="any", blob="")
    for tee, code in (("tdx", ""), ("snp", "evidence.claims")):
        found = claims(tee=tee)
        try:
            assert verifiers.verify(evidence, bytes(64), INTEL_NOW, verifiers={"tdx": lambda *_, found=found: found})
            assert not code
        except TrustError as error:
            assert error.code == code


def test_code_and_contract_are_only_ever_completed_for_hardware_that_reports_neither() -> None:
    bare = claims(env_digest="", contract="")
    assert completed(bare, ENV, CONTRACT).contract == CONTRACT
    for other in (claims(), claims(env_digest=""), claims(contract=""), claims(assurance="simulated", contract="")):
        assert completed(other, "sha384:x", "sha256:x") == other


@pytest.mark.parametrize("name", ["sgx-phala-v3", "tdx-phala-v4", "tdx-trustee-v4-debug"])
def test_real_platforms_under_a_strict_policy(name: str) -> None:
    one = vector(name)
    found = completed(conclude(one.examine(), bytes.fromhex(one.case.claims["report_data"])), ENV, CONTRACT)
    launch = [f"{key}={value}" for key, value in found.launch.items()]
    assert roots.of("intel")
    wanted = {
        # An advisory is open, and hyper-threading or microcode need configuration.
        "sgx-phala-v3": "appraisal.tcb",
        "tdx-phala-v4": "affirming",
        "tdx-trustee-v4-debug": "appraisal.debug",
    }[name]
    assert outcome(found, policy(reference={"launch": launch})) == wanted
