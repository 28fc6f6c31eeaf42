"""Threads that decode a class for the first time, at once."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
import msgspec
from tokenworks.core.structs import prepare

sys.setswitchinterval(1e-6)
BODY = b'{"x": 1, "y": "s", "z": [{"a": 1, "b": ["q"]}], "w": {"k": {"a": 2}}}'
CLASSES = '''
class Inner{n}(msgspec.Struct):
    a: int = 0
    b: list[str] = []
class Outer{n}(msgspec.Struct):
    x: int
    y: str | None = None
    z: list[Inner{n}] = []
    w: dict[str, Inner{n}] = {{}}
'''
for n in range(200):
    exec(CLASSES.format(n=n))
print(prepare())

def decode(n, together, right):
    together.wait()
    for m in range(n, n + 10):
        right.append(msgspec.json.decode(BODY, type=globals()[f"Outer{m}"]).x)

right = []
for n in range(0, 200, 10):
    together = threading.Barrier(4)
    threads = [threading.Thread(target=decode, args=(n, together, right)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(sum(right))
"""


def test_classes_that_were_prepared_are_safe_from_threads():
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-500:]}"
    prepared, right = map(int, done.stdout.split())
    assert prepared >= 400
    assert right == 800
