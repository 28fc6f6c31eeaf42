"""The plain case of a request, answered without a task: everything it depends on is at hand, and nobody waits."""
