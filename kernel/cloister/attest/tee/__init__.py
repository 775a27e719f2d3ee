"""Verifiers of hardware evidence: one file per TEE over small strict readers; the frame is ``examined`` and ``codes``.

Each offers ``examine`` (what the evidence says on its own) and ``verify`` (that, for one exchange: the ``Verifier``
protocol of ``cloister.attest.verifiers``). Pure functions: no network, no clock, no files, no other exception than
``RejectedError``. ``docs/evidence.md`` lists formats, verdicts, codes and roots.
"""
