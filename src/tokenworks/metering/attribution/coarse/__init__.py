"""What requests took of a server that says nothing of its steps: from its counters, and from when it was asked."""
