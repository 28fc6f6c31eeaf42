"""A signed log with a witness, and what somebody may do to it who knows the format, with or without the key."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tokenworks.ledger import heads, segment
from tokenworks.ledger.checkpoint import LogSigner
from tokenworks.ledger.merkle import Frontier, leaf_hash
from tokenworks.ledger.note import SignerKey

SMALL = 4096
Payloads = list[bytes]


VERIFIERS = Path(__file__).parents[2] / "docs" / "verifier"
_WITHOUT_US = "import runpy, sys; sys.modules['tokenworks'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0])"


def stand_alone(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a verifier of the documentation where importing our package is an error."""
    command = [sys.executable, "-I", "-c", _WITHOUT_US, str(VERIFIERS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Scene:
    """What there is to attack."""

    root: Path  # of the ledger
    key: SignerKey
    witness: Path  # its folder
    early: Path  # a copy of the ledger when it had 30 of its 60 entries

    @property
    def log(self) -> Path:
        return self.root / "gateway"


def payloads(path: Path) -> Payloads:
    """Return what the entries of a segment are made of."""
    view = memoryview(path.read_bytes())
    return [
        bytes(view[start + 1 : end]) for start, end in segment.scan(view, segment.HEADER_BYTES, int(path.stem)).leaves
    ]


def forge(path: Path, entries: Payloads) -> None:
    """Rewrite a segment with right checksums and numbers."""
    data, first = path.read_bytes(), int(path.stem)
    frames = b"".join(segment.frame(payload, first + n, first + n) for n, payload in enumerate(entries))
    path.write_bytes((data[: segment.HEADER_BYTES] + frames).ljust(len(data), b"\0")[: len(data)])


def forge_heads(log: Path, key: SignerKey | None) -> None:
    """Make every tree head fit the segments as they are now; signed by whoever has the key."""
    tree, signer = Frontier(), LogSigner(key, log.name) if key else None
    paths = segment.segments(log)
    for path in paths:
        tree.extend([leaf_hash(payload) for payload in payloads(path)])
        name = path.with_suffix(".head") if path != paths[-1] else log / heads.LATEST
        old = heads.read_head(name)
        new = heads.tree_head(tree, segment=old.segment, offset=old.offset, at=old.at, signer=signer)
        if signer is None:  # the best he can do: keep the old signature
            new = msgspec.structs.replace(new, checkpoint=old.checkpoint)
        name.write_bytes(msgspec.json.encode(new))


def flip(scene: Scene) -> None:
    path = segment.segments(scene.log)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"req-5\xa8") + 4] ^= 1
    path.write_bytes(data)


def delete(scene: Scene) -> None:
    _edit(scene, lambda old: [*old[:5], *old[6:]])


def insert(scene: Scene) -> None:
    _edit(scene, lambda old: [*old[:5], old[4], *old[5:-1]])


def reorder(scene: Scene) -> None:
    _edit(scene, lambda old: [*old[:5], old[6], old[5], *old[7:]])


def change(scene: Scene) -> None:
    _edit(scene, lambda old: [*old[:5], old[5].replace(b"ok", b"no"), *old[6:]])


def truncate(scene: Scene) -> None:
    path = segment.segments(scene.log)[-1]
    forge(path, payloads(path)[:-1])


def rewrite(scene: Scene) -> None:
    """Everything, heads too, by somebody without the key."""
    change(scene)
    forge_heads(scene.log, None)


def rewrite_with_key(scene: Scene) -> None:
    """Everything, heads too, by somebody who has the key."""
    change(scene)
    forge_heads(scene.log, scene.key)


def roll_back(scene: Scene) -> None:
    """The disk as it was at entry 30: every byte of it was once right."""
    shutil.rmtree(scene.root)
    shutil.copytree(scene.early, scene.root)


def remove(scene: Scene) -> None:
    shutil.rmtree(scene.log)


def _edit(scene: Scene, how: Callable[[Payloads], Payloads]) -> None:
    path = segment.segments(scene.log)[0]
    old = payloads(path)
    assert how(old) != old
    forge(path, how(old))
