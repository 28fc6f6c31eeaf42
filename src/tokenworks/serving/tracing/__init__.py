"""OpenTelemetry spans of what an engine does, loaded only where traces are configured. Never a prompt or an answer."""
