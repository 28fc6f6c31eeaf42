"""Settings come from defaults, a file, the environment and the command line, in rising order."""

import re
from pathlib import Path

import pytest

import tokenworks
from tokenworks.core.errors import ConfigError
from tokenworks.settings import load_settings


def test_the_environment_overrules_the_file_and_the_argument_overrules_both(tmp_path):
    file = tmp_path / "tokenworks.toml"
    file.write_text('home = "/a"\n[server]\nport = 1\nhost = "::1"\n')
    settings = load_settings(file, environ={"TOKENWORKS_SERVER__PORT": "2", "TOKENWORKS_HOME": "/b"}, home=tmp_path)
    assert (settings.server.port, settings.server.host, settings.home_path) == (2, "::1", tmp_path)


def test_a_wrong_name_in_the_environment_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"environment: unknown key 'prot' in \[server\]; did you mean 'port'"):
        load_settings(environ={"TOKENWORKS_SERVER__PROT": "2"}, home=tmp_path)


def test_a_wrong_value_in_the_environment_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"server\.port"):
        load_settings(environ={"TOKENWORKS_SERVER__PORT": "many"}, home=tmp_path)


def test_everything_lies_below_the_home_unless_said_otherwise(tmp_path):
    settings = load_settings(environ={}, home=tmp_path)
    assert settings.catalog_url == f"sqlite:///{tmp_path}/catalog.db"
    assert settings.artifacts_url == f"{tmp_path}/artifacts"
    assert settings.threads >= 1


def test_only_one_file_reads_the_environment():
    package = Path(tokenworks.__file__).parent
    reading = [file for file in package.rglob("*.py") if re.search(r"\b(environb?|getenvb?)\b", file.read_text())]
    assert [str(file.relative_to(package)) for file in reading] == ["settings/environment.py"]
