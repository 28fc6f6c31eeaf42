"""The hot path in compiled form does what its sources do: their own tests are run over it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tokenworks.core import compiled, compiling
from tokenworks.core.errors import ConfigError

pytestmark = [pytest.mark.xdist_group("compiled"), pytest.mark.timeout(900)]
TESTS = Path(__file__).parent.parent
HELD = (
    "gateway/plain", "gateway/http", "gateway/limits", "gateway/admission", "gateway/test_meter.py",
    "gateway/test_metrics.py", "gateway/test_bodies.py", "gateway/test_stack.py", "serving/test_upstream.py",
    "ledger/test_writer.py",
)  # fmt: skip
START = """
import sys
from pathlib import Path
from tokenworks.core.compiled import MODULES, use
assert use(Path(sys.argv.pop(1))), "not of these sources"
"""
RUN = """
import pytest
code = pytest.main(sys.argv[1:])
files = {module: sys.modules[f"tokenworks.{module}"].__file__ for module in MODULES}
interpreted = [module for module, file in files.items() if file.endswith(".py")]
sys.exit(code or (f"not in compiled form: {interpreted}" if interpreted else 0))
"""
LOSE = """
import asyncio
from tokenworks.gateway.http.connection import Connection

class Transport:
    def write(self, data): pass
    def is_closing(self): return False
    def set_write_buffer_limits(self, high): pass
    def abort(self): pass

async def wait(request):
    await request.more()

async def lose(count):
    for _ in range(count):
        caller = Connection(wait, lambda request: False, set(), asyncio.get_running_loop())
        caller.connection_made(Transport())
        caller.data_received(b"POST / HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: 90000\\r\\n\\r\\n{")
        await asyncio.sleep(0)
        caller.cut_off()
        await asyncio.sleep(0)
        caller.connection_lost(None)
        await asyncio.sleep(0)

asyncio.run(lose(100))
before = sys.getrefcount(None)
asyncio.run(lose(3000))
print(sys.getrefcount(None) - before)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the compiled form of these sources is."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler is installed")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    root = tmp_path_factory.mktemp("compiled")
    folder, new = compiling.make(root)
    assert new
    assert folder.parent == root
    return root


def run(program, *words, cwd):
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=800
    )


def test_what_holds_of_the_sources_holds_of_the_compiled_form(made, tmp_path):
    words = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'under'}"]
    done = run(START + RUN, str(made), *words, *(str(TESTS / each) for each in HELD), cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_no_reference_is_lost_where_callers_hang_up(made, tmp_path):
    done = run(START + LOSE, str(made), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert abs(int(done.stdout)) < 1000


def test_it_is_made_once(made):
    assert compiling.make(made) == (made / compiled.digest(), False)


def test_of_other_sources_it_is_not_used(made, tmp_path):
    (made / compiled.digest()).rename(tmp_path / "another")
    try:
        done = run(START, str(made), cwd=tmp_path)
        assert "not of these sources" in done.stderr
    finally:
        (tmp_path / "another").rename(made / compiled.digest())


def test_where_a_module_is_loaded_from_its_source_all_are(made, tmp_path):
    done = run("import tokenworks.core.sse\n" + START, str(made), cwd=tmp_path)
    assert "not of these sources" in done.stderr


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install gcc or clang"):
        compiling.make(tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_none_of_the_modules_holds_a_coroutine_or_a_struct():
    for module in compiled.MODULES:
        text = compiled.source(module).read_text()
        assert "async def" not in text, module
        assert "(msgspec.Struct" not in text, module
