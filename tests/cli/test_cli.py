"""The command line: quick, plain, with exit codes that mean something."""

import json
import subprocess
import sys

import pytest

from system.processes import tokenworks
from tokenworks.cli.config import as_toml
from tokenworks.cli.reference import pages
from tokenworks.cli.screen import human
from tokenworks.core.toml import parse_toml
from tokenworks.settings import Settings, load_settings


def modules_of(statement):
    """Return what a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


HEAVY = {"torch", "transformers", "numpy", "sqlalchemy", "openvino", "uvicorn", "rich.console", "cryptography"}


def test_importing_the_package_loads_nothing_heavy():
    assert not HEAVY & modules_of("import tokenworks")


def test_the_command_line_itself_loads_nothing_heavy():
    assert not (HEAVY - {"rich.console"}) & modules_of("import tokenworks.cli.main")


def test_the_gateway_does_not_load_training_or_engines():
    assert not {"torch", "transformers", "openvino"} & modules_of("import tokenworks.factory.plant")


def test_help_names_every_verb(tmp_path):
    done = tokenworks(tmp_path, "--help")
    for verb in ("up", "serve", "ingest", "train", "tune", "evaluate", "turn", "lineage", "doctor", "ledger", "key"):
        assert f"  {verb} " in done.stdout


def test_settings_are_written_checked_and_shown(tmp_path):
    written = tokenworks(tmp_path / "h", "config", "init", str(tmp_path / "t.toml"), cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert tokenworks(tmp_path / "h", "--config", str(tmp_path / "t.toml"), "config", "check").returncode == 0
    again = tokenworks(tmp_path / "h", "config", "init", str(tmp_path / "t.toml"))
    assert again.returncode == 4
    assert "exists" in again.stderr


def test_settings_as_toml_read_back_as_the_same_settings(tmp_path):
    import msgspec

    settings = load_settings(environ={}, home=tmp_path)
    assert parse_toml(as_toml(msgspec.to_builtins(settings)), Settings, where="t") == settings


def test_a_wrong_key_ends_with_status_2_and_one_line(tmp_path):
    (tmp_path / "bad.toml").write_text("[server]\nprot = 1\n")
    done = tokenworks(tmp_path / "h", "--config", str(tmp_path / "bad.toml"), "config", "check")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "line 2: unknown key 'prot'" in done.stderr


@pytest.mark.parametrize("kind", ["classify", "extract", "embed", "complete", "chat"])
def test_a_new_task_file_is_one_that_check_accepts_once_its_files_exist(tmp_path, kind):
    done = tokenworks(tmp_path / "h", "task", "new", "mine", "--kind", kind, "--owner", "mailto:a@b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    missing = tokenworks(tmp_path / "h", "task", "check", "mine.toml", cwd=tmp_path)
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    (tmp_path / "docs").mkdir()
    for name in ("examples.csv", "examples.jsonl", "answer.schema.json"):
        (tmp_path / name).write_text("{}")
    checked = tokenworks(tmp_path / "h", "task", "check", "mine.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_a_key_is_shown_once_listed_by_prefix_and_revoked(tmp_path):
    key = json.loads(tokenworks(tmp_path, "--json", "key", "new", "ci").stdout)["key"]
    listed = tokenworks(tmp_path, "key", "list").stdout
    assert key not in listed
    prefix = next(line.split()[0] for line in listed.splitlines() if line.startswith("tw-"))
    assert key.startswith(prefix)
    assert tokenworks(tmp_path, "key", "revoke", prefix).returncode == 0
    shown = json.loads(tokenworks(tmp_path, "--json", "key", "list").stdout)
    assert shown[0]["revoked_at"]


def test_ingest_says_what_came_in_and_what_was_left_out(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Leave\n\nHow to ask for leave: write to your lead a week before.\n")
    (docs / "b.md").write_text("# Leave\n\nHow to ask for leave: write to your lead a week before.\n")
    (docs / "empty.md").write_text("")
    found = json.loads(tokenworks(tmp_path / "h", "--json", "ingest", str(docs)).stdout)
    assert found["ingest"]["documents"]["seen"] == 3
    left_out = {**found["ingest"]["set_aside"], **found["curate"]["set_aside"]}
    assert found["curate"]["kept"] + sum(left_out.values()) == 3
    assert "empty" in left_out


def test_an_unknown_task_lists_the_known_ones(tmp_path):
    done = tokenworks(tmp_path, "turn", "nothing")
    assert done.returncode == 4
    assert "known: none yet" in done.stderr


def test_the_doctor_says_what_to_do_about_a_port_in_use(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "t.toml").write_text(f"[server]\nport = {taken.getsockname()[1]}\n")
        done = tokenworks(tmp_path, "--config", str(tmp_path / "t.toml"), "doctor")
    assert done.returncode == 1
    assert "choose another with --port" in done.stdout


def test_every_command_has_a_reference_page_that_is_current():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "docs" / "reference"
    made = pages()
    assert {path.name for path in folder.iterdir()} == set(made)
    stale = [name for name, text in made.items() if (folder / name).read_text() != text]
    assert not stale, f"run `make docs`: {stale}"


def test_numbers_are_short():
    assert [human(value) for value in (0, 7, 7.25, 999, 12345, 2_500_000)] == ["0", "7", "7.2", "999", "12.3k", "2.5M"]
