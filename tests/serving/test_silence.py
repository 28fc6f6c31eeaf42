"""An engine's libraries tell nobody that they run."""

import subprocess
import sys

import pytest

WATCHED = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("socket.", "os.fork")) else None)
import tokenworks.serving.host
seen.clear()  # an event loop has sockets of its own
import openvino
print("heard:", *seen)
"""


def test_openvino_is_loaded_without_a_word_to_its_maker(tmp_path):
    pytest.importorskip("openvino", reason="openvino (extra 'embed') is not installed")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["heard:"]
    assert list(tmp_path.iterdir()) == []  # nor is there a number by which it would know this machine again
