"""`tokenworks openapi`: the description as a file, without a server."""

import json
from pathlib import Path

from system.processes import tokenworks


def test_the_description_is_printed_or_written(tmp_path):
    printed = tokenworks(tmp_path, "openapi")
    assert json.loads(printed.stdout)["openapi"] == "3.1.0"
    written = tmp_path / "openapi.json"
    assert tokenworks(tmp_path, "openapi", "--output", str(written)).stdout.strip() == f"wrote {written}"
    committed = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
    assert written.read_text() == printed.stdout == committed.read_text()
