"""The `tokenworks` command, a file per verb group; no logic."""
