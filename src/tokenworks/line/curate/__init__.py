"""Documents to a corpus: what is kept, what is set aside and why."""
