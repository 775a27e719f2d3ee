"""Shared vocabulary: evidence, verifiers, appraisal and the attested channel. Pure."""
