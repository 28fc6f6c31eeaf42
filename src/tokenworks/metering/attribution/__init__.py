"""Whose the seconds and joules were: the rule by engine step, an engine's account, and what is left over."""
