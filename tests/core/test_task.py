"""The task file says what is wanted, and nothing that cannot be meant."""

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.label import Label
from tokenworks.core.task import read_task


def write(folder, text):
    path = folder / "task.toml"
    path.write_text(text)
    return path


def test_a_small_task_file_has_defaults_for_everything_else(tmp_path):
    task = read_task(write(tmp_path, '[task]\nname = "route"\nkind = "classify"\n[data]\nexamples = "e.csv"\n'))
    assert (task.name, task.kind, task.metric, task.label) == ("route", "classify", "accuracy", Label.INTERNAL)
    assert task.path("e.csv") == (tmp_path / "e.csv").resolve()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[task]\nname = "Route!"\nkind = "classify"\n[data]\nexamples = "e"\n', "must be 1-63 of a-z"),
        ('[task]\nname = "r"\nkind = "classify"\n', "learns from examples"),
        ('[task]\nname = "r"\nkind = "complete"\n', "learns from documents"),
        ('[task]\nname = "r"\nkind = "extract"\n[data]\nexamples = "e"\n', "needs data.schema"),
        ('[task]\nname = "r"\nkind = "complete"\nlabel = "secret"\n[data]\nsources = ["d"]\n', "label 'secret'"),
        ('[task]\nname = "r"\nkind = "classify"\n[data]\nexamples="e"\n[check]\nheld_out = 1.5\n', "held_out is 1.5"),
        ('[task]\nname = "r"\nkind = "classify"\n[data]\nexamples="e"\n[check]\nmargin = -1.0\n', "margin is -1.0"),
        ('folder = "/x"\n[task]\nname = "r"\nkind = "classify"\n[data]\nexamples="e"\n', "unknown key 'folder'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_way_out(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_task(write(tmp_path, text))
