"""From traffic and feedback to what the next model learns: what may be used, what can be trusted, and why not."""
