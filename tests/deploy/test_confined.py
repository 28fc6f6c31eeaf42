"""The server, real, under what the manifests leave to it: no root, no capabilities, and nothing to write but its home.

Mounts are the kernel's, in a namespace of our own; whoever may not make one skips.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from system.processes import Running

USER = 10001  # as the pod's
pytestmark = pytest.mark.xdist_group("confined")
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
def watched(confined: tuple[Path, tuple[str, ...]]) -> tuple[Path, tuple[str, ...]]:
    """Return where calls to the kernel are noted that the systemd unit forbids, and the command that notes them."""
    noted = confined[0] / "forbidden-calls"
    tracer = ("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", f"trace=!{','.join(sorted(permitted()))}", "-o")
    command = (*confined[1], *tracer, str(noted))
    seen = subprocess.run([*command, "sh", "-c", "chroot /nowhere"], capture_output=True, check=False)
    if shutil.which("strace") is None or not noted.exists():
        return noted, confined[1]  # the server is tried without
    assert seen.returncode, "a process without capabilities changed its root"
    assert "chroot" in noted.read_text()
    return noted, command


def permitted() -> set[str]:
    """Return the calls to the kernel that the systemd unit lets through."""
    if shutil.which("systemd-analyze") is None:
        return {"none"}
    unit = (Path(__file__).parents[2] / "deploy" / "systemd" / "tokenworks.service").read_text()
    filters = re.findall(r"^SystemCallFilter=(~?)(\S+)$", unit, re.MULTILINE)
    allowed = set[str]().union(*(calls(group) for sign, group in filters if not sign))
    return allowed.difference(*(calls(group) for sign, group in filters if sign))


def calls(group: str) -> set[str]:
    """Return the calls of one of systemd's groups that this machine has."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = {line.strip() for line in said.stdout.splitlines()[1:] if line.strip() and "#" not in line}
    return set[str]().union(*(calls(name) if name.startswith("@") else {f"?{name}"} for name in names))


def test_the_server_serves_with_a_read_only_root_without_a_capability_and_within_the_filter(
    watched: tuple[Path, tuple[str, ...]], confined: tuple[Path, tuple[str, ...]], make_llama: Callable[..., Path]
) -> None:
    pytest.importorskip("openvino_genai")
    noted, command = watched
    noted.unlink(missing_ok=True)
    folder = make_llama()
    server = Running(confined[0], "serve", "--workers", "2", "--model", str(folder), under=command)
    server.until(folder.name)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=20) as client:  # the engine starts
        answer = client.completions.create(model=folder.name, prompt="hello", max_tokens=5)
    inside = server.tree()
    privileges = [privileges_of(process.pid) for process in inside]
    assert server.stop() == 0
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert len(inside) >= 4  # the server, two workers, an engine
    assert set(privileges) == {(0, 1)}
    made = noted.read_text().splitlines() if noted.exists() else []
    assert not [line for line in made if re.match(r"\d+ +\w+\(", line)]


def privileges_of(pid: int) -> tuple[int, int]:
    """Return the effective capabilities of a process, as bits, and whether it can never have more."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["CapEff"], 16), int(status["NoNewPrivs"])
