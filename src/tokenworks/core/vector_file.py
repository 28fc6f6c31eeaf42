"""Vectors of texts that were embedded before, in one file: a cache, so that what is damaged or gone is made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.core.files import write_atomic
from tokenworks.core.ids import sha256_hex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Embed = Callable[[list[str]], Vectors]  # texts -> [texts, dim]

_NAME = 24  # hexadecimal digits of a text's hash


def embedded(texts: Sequence[str], embed: Embed, file: Path, *, most: int = 100_000) -> Vectors:
    """Return a vector for each text [texts, dim]; only those that `file` lacks are embedded, and kept there.

    With more than `most` vectors the file forgets those that were not asked for this time.
    """
    import numpy as np

    names = [sha256_hex(text.encode("utf-8", "surrogatepass"))[:_NAME] for text in texts]
    known = _read(file)
    first = dict.fromkeys(name for name in names if name not in known)
    if first:
        text_of = dict(zip(reversed(names), reversed(texts), strict=True))
        made = embed([text_of[name] for name in first])
        known.update(zip(first, made, strict=True))
        kept = known if len(known) <= most else {name: known[name] for name in dict.fromkeys(names)}
        _write(file, kept)
    return np.stack([known[name] for name in names]) if names else np.zeros((0, 1), np.float32)


def _read(file: Path) -> dict[str, Vectors]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not file.exists():
        return {}
    try:
        found = load_file(file)
    except (SafetensorError, OSError):  # dropped or damaged: it is only a cache
        return {}
    names = found["names"].tobytes()
    return {names[at * _NAME : (at + 1) * _NAME].decode(): row for at, row in enumerate(found["vectors"])}


def _write(file: Path, vectors: dict[str, Vectors]) -> None:
    import numpy as np
    from safetensors.numpy import save

    names = np.frombuffer("".join(vectors).encode(), np.uint8)
    write_atomic(file, save({"names": names, "vectors": np.stack(list(vectors.values()))}))
