"""Linux confinement for a process that will run or hold something it must not be able to leave.

Only the mechanism lives here: Landlock rulesets, seccomp filters, capabilities, prctl and resource limits, all
through ``ctypes`` so that no compiler and no library is needed. *Which* paths and system calls are allowed is
decided in the zone that is being confined: ``cloister.enclave.jail`` and ``cloister.vault.confine``.

Everything works without privilege, in containers and on Binder. What the kernel does not offer is reported,
never silently skipped.
"""
