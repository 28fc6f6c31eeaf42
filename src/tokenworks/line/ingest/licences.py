"""Which licence a text is under, as an SPDX id: from its header, or from a LICENSE file beside or above it."""

from __future__ import annotations

import re

FILE_NAME = re.compile(r"(?:LICEN[CS]E|COPYING|UNLICENSE)(?:[-.][\w.-]*)?", re.I)
_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]{2,80}?)[ \t]*(?:\*/|-->|$)", re.M)
_HEADER_CHARS = 3000
_SPACE = re.compile(r"\s+")
_PHRASES = (  # the first that fits; special before general
    ("AGPL-3.0-only", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0-only", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.1-only", ("gnu lesser general public license", "version 2.1")),
    ("GPL-3.0-only", ("gnu general public license", "version 3")),
    ("GPL-2.0-only", ("gnu general public license", "version 2")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("EPL-2.0", ("eclipse public license", "2.0")),
    ("CC-BY-NC-SA-4.0", ("attribution-noncommercial-sharealike 4.0",)),
    ("CC-BY-NC-4.0", ("attribution-noncommercial 4.0",)),
    ("CC-BY-SA-4.0", ("attribution-sharealike 4.0",)),
    ("CC-BY-SA-3.0", ("attribution-sharealike 3.0",)),
    ("CC-BY-4.0", ("attribution 4.0 international",)),
    ("CC-BY-3.0", ("attribution 3.0",)),
    ("CC0-1.0", ("cc0 1.0",)),
    ("CC0-1.0", ("public domain", "cc0")),
    ("OGL-UK-3.0", ("open government licence", "3")),
    ("Unlicense", ("this is free and unencumbered software",)),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software",)),
    ("MIT", ("permission is hereby granted, free of charge",)),
)


def header_licence(text: str) -> str:
    """Return the SPDX id that the head of `text` declares, or ''."""
    found = _HEADER.search(text, 0, _HEADER_CHARS)
    return found[1].strip() if found else ""


def file_licence(text: str) -> str:
    """Return the SPDX id of the licence text in a LICENSE file, or '' where it is none that we know."""
    if declared := header_licence(text):
        return declared
    plain = _SPACE.sub(" ", text.lower())
    return next((spdx for spdx, phrases in _PHRASES if all(phrase in plain for phrase in phrases)), "")
