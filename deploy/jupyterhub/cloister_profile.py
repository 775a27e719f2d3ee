"""A profile of KubeSpawner for analysts: Lab with Cloister's kernels. UNTESTED ON HARDWARE (deploy/README.md).

Put it into jupyterhub_config.d or load it with ``load_subconfig``. What runs here is the analyst's *proxy*, outside any
TEE: the Hub, this pod and the notebook files are the host's. Data, vault and user code are in the enclave, which this
proxy verifies for itself; on a hosted Lab the badge says *verified by <operator>*, because "verifies itself" protects
only who controls the proxy's machine. The image is ``pip install cloister`` (no extras) on any image of JupyterLab.
"""

c = get_config()  # noqa: F821 (given by traitlets)

c.KubeSpawner.profile_list = [
    {
        "slug": "cloister",
        "display_name": "Cloister: confidential analytics",
        "description": "Cells run in an attested enclave; only noisy aggregates and models come back.",
        "kubespawner_override": {
            "image": "registry.example/cloister-lab@sha256:" + "0" * 64,
            # The trust store and the analyst's key: the person's own volume, nobody else's.
            "volumes": [{"name": "trust", "persistentVolumeClaim": {"claimName": "cloister-{user_server}"}}],
            "volume_mounts": [{"name": "trust", "mountPath": "/home/jovyan/.local/share/cloister"}],
            "service_account": None,
            "automount_service_account_token": False,
            "allow_privilege_escalation": False,
            "mem_limit": "2G",
            "cpu_limit": 2,
        },
    }
]
