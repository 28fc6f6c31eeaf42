"""The turn: select, train, gate, trial, release - one durable workflow. How it decides: docs/turn.md."""
