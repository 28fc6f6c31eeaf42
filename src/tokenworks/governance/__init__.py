"""May this principal do this to that: labels, keys, owners."""
