"""Grams of CO2 equivalent of what the ledger has: where the electricity comes from, and SCI figures over it."""
