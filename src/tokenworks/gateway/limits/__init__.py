"""Limits at work: what a request claims, the counters that grant it, and what the caller is told."""
