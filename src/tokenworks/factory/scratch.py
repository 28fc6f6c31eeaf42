"""What killed stages left in the working folders: copies of texts that nothing refers to."""

from __future__ import annotations

import shutil
from pathlib import Path

from tokenworks.core.files import try_locked


def sweep(work: Path) -> int:
    """Delete the scratch of every stage that does not run; return how many there were.

    Such a stage begins anew instead of going on from its last checkpoint: its checkpoint may hold what was erased.
    """
    count = 0
    for lock in sorted(work.glob("*/*.lock")):
        left = [path for path in (lock.with_suffix(""), lock.with_suffix(".jsonl")) if path.exists()]
        if not left:
            continue
        with try_locked(lock) as ours:
            for path in left if ours else ():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                count += 1
    return count
