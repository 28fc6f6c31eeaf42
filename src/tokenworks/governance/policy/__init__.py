"""Policies in Cedar: may this caller do this, with text of this label, there, now? Knows no request and no wire."""
