"""Quality, language and licence of single texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.line.ingest.language import detect_language
from tokenworks.line.ingest.licences import file_licence, header_licence
from tokenworks.line.ingest.quality import quality

PROSE = (
    "The committee met on Tuesday to talk about the plan for the new library. It was clear that the building "
    "would have to be larger than the old one, and that it should be open to all people of the town. "
)


def test_prose_scores_high_and_noise_low():
    noise = " ".join(["#### 0x3f ||| 77.1 ... @@"] * 40)
    assert quality(PROSE * 3, "text/plain", "en") >= 0.9
    assert quality(noise, "text/plain", "en") <= 0.6
    assert quality("spam spam spam spam\n" * 200, "text/plain", "en") < quality(PROSE * 3, "text/plain", "en")
    assert quality("   ", "text/plain", "") == 0.0


def test_code_is_judged_as_code():
    assert quality("def f(x):\n    return x + 1\n" * 3, "text/x-python", "") == 1.0
    assert quality("x" * 5000, "text/x-python", "") <= 0.5


@given(st.text(min_size=1))
def test_quality_lies_between_zero_and_one(text):
    assert 0.0 <= quality(text, "text/plain", "en") <= 1.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PROSE, "en"),
        ("Der Ausschuss traf sich am Dienstag, um über den Plan für die neue Bücherei zu sprechen.", "de"),
        ("Le comité s'est réuni mardi pour parler du projet de la nouvelle bibliothèque de la ville.", "fr"),
        ("委員会は火曜日に集まり、町の新しい図書館の計画について話し合いました。", "ja"),
    ],
)
def test_languages_are_told_apart(text, code):
    assert detect_language(text, "text/plain") == code


def test_source_code_and_scraps_have_no_language():
    assert detect_language(PROSE, "text/x-python") == ""
    assert detect_language("1234 5678 !", "text/plain") == ""
    assert detect_language("ok", "text/plain") == ""


def test_code_blocks_and_links_do_not_decide_the_language():
    text = (
        "```\nimport os\nfor i in range(10): print(i)\n```\n" * 3 + "Der Ausschuss traf sich am Dienstag in der Stadt."
    )
    assert detect_language(text, "text/markdown") == "de"


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
        ("Permission is hereby granted, free of charge, to any person", "MIT"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", "AGPL-3.0-only"),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "CC-BY-SA-4.0"),
        ("Open Government Licence v3.0", "OGL-UK-3.0"),
        ("All rights reserved.", ""),
    ],
)
def test_licence_texts_are_recognised(text, spdx):
    assert file_licence(text) == spdx


def test_an_spdx_header_is_read_from_the_head_only():
    assert header_licence("/* SPDX-License-Identifier: BSD-3-Clause */\nint x;") == "BSD-3-Clause"
    assert header_licence("# SPDX-License-Identifier: MIT OR Apache-2.0\n") == "MIT OR Apache-2.0"
    assert header_licence("x\n" * 3000 + "SPDX-License-Identifier: MIT") == ""


def test_the_licences_of_the_data_packs_are_recognised(data_folder: Path):
    folder = data_folder / "docs-enterprise" / "LICENSES"
    known = {path.name: file_licence(path.read_text(errors="replace")) for path in folder.iterdir()}
    assert sum(bool(spdx) for spdx in known.values()) >= 0.7 * len(known), known
