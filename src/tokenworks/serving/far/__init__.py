"""Servers elsewhere, each asked in its own words."""
