"""The server, real, under what the manifests leave to it: no root, no capabilities, and nothing to write but its home.

Mounts are the kernel's, in a namespace of our own; whoever may not make one skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from system.processes import Running

USER = 10001  # as the pod's
CONFINE = """
set -e
for folder in "$1" "$2"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
export HOME="$2" TMPDIR="$2"
shift 2
exec unshare --user --map-user={user} --map-group={user} \\
    setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """Return a home, and the command before a command that may write there and to a scratch folder alone."""
    for program in ("unshare", "setpriv", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"the program {program} is not on this machine")
    home, scratch = (tmp_path_factory.mktemp(name) for name in ("home", "scratch"))
    script = CONFINE.format(user=USER)
    under = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(home), str(scratch))
    tried = subprocess.run([*under, "id", "-u"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mount namespaces are not permitted here: {tried.stderr.strip()}")
    assert tried.stdout.strip() == str(USER)
    return home, under


def test_the_cage_is_closed(confined: tuple[Path, tuple[str, ...]]) -> None:
    home, under = confined
    outside = home.parent / "outside"
    ran = subprocess.run(
        [*under, "sh", "-c", f"touch {home}/inside; touch {outside}; grep CapEff /proc/self/status"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (home / "inside").exists()
    assert not outside.exists()
    assert "Read-only file system" in ran.stderr
    assert int(ran.stdout.split()[1], 16) == 0


@pytest.fixture(scope="module")
def running(confined: tuple[Path, tuple[str, ...]], make_llama) -> Iterator[tuple[Running, str]]:
    pytest.importorskip("openvino_genai")
    home, under = confined
    folder = make_llama()
    started = Running(home, "serve", "--workers", "2", "--model", str(folder), under=under)
    started.until(folder.name)
    yield started, folder.name
    assert started.stop() == 0


def test_the_server_serves_with_a_read_only_root_and_without_a_capability(running: tuple[Running, str]) -> None:
    server, model = running
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=20) as client:  # the engine starts
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=5
        )
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    inside = server.tree()
    assert len(inside) >= 4  # the server, two workers, an engine
    for process in inside:
        status = Path(f"/proc/{process.pid}/status").read_text()
        (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
        (privileges,) = (line.split()[1] for line in status.splitlines() if line.startswith("NoNewPrivs"))
        assert (int(effective, 16), privileges) == (0, "1")
        assert os.readlink(f"/proc/{process.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
