"""Random bytes in advance: never the same twice, not over threads and not over forks."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from tokenworks.core.entropy import DRAWN, random_bytes


def test_no_bytes_are_given_twice_however_many_threads_draw() -> None:
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: random_bytes(16), range(DRAWN)))
    assert {len(each) for each in drawn} == {16}
    assert len(set(drawn)) == len(drawn)


def test_a_fork_does_not_draw_what_its_parent_draws() -> None:
    random_bytes(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, random_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) != random_bytes(16)
    os.close(reading)
    os.close(writing)
