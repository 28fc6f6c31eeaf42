"""Check one log of a ledger, with `cryptography` alone: check_ledger.py WRITER_FOLDER VKEY [WITNESS_FOLDER ...]"""

import json
import struct
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

folder, keys = Path(sys.argv[1]), [line.split("+", 2) for line in sys.argv[2].split()]
name, checked = keys[0][0], "Ed25519"
origin, public = f"{name}/{folder.name}", {keys[0][1]: Ed25519PublicKey.from_public_bytes(b64decode(keys[0][2])[1:])}
if len(keys) > 1:  # a second line is an ML-DSA-44 key: needs cryptography 48
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    public[keys[1][1]] = MLDSA44PublicKey.from_public_bytes(b64decode(keys[1][2]).removeprefix(b"\xffML-DSA-44"))
    checked += ", and ML-DSA-44 where it was there already: always over the newest head, and so over all"
anchors, tree, number = list[tuple[int, bytes, bool]](), list[tuple[int, bytes]](), 0
good = {False: 0, True: 0}  # the log's own heads, witnesses: who forges a log forges its heads, but not a witness


def root() -> bytes:
    """Return the root over all leaves so far: the perfect subtrees joined from the right. RFC 6962, 2.1."""
    parts = [part for _, part in tree] or [sha256(b"").digest()]
    while len(parts) > 1:
        right, left = parts.pop(), parts.pop()
        parts.append(sha256(b"\1" + left + right).digest())
    return parts[0]


for path in [*folder.glob("*.head"), folder / "head.json"]:  # what the log signed of itself
    note = json.loads(path.read_bytes()).get("checkpoint", "")
    if note or path.name == "head.json":  # a log older than its key has closing heads without
        text, _, below = note.rpartition("\n\n")
        values = [b64decode(line.split(" ")[2]) for line in below.splitlines() if line.startswith(f"— {name} ")]
        found = {value[:4].hex(): value[4:] for value in values}
        for key_id in public if path.name == "head.json" else {keys[0][1], *found} & {*public}:
            try:
                public[key_id].verify(found.get(key_id, b""), f"{text}\n".encode())
            except InvalidSignature:
                sys.exit(f"{path.name}: not signed by {name}, key {key_id}")
        said, size, hashed = text.split("\n")
        if said != origin:
            sys.exit(f"{path.name}: of another log, {said}")
        anchors.append((int(size), b64decode(hashed), False))
for witness in map(Path, sys.argv[3:]):  # what others saw of it
    history = witness / sha256(origin.encode()).hexdigest() / "history"
    lines = [line.split() for line in history.read_text().splitlines(keepends=True) if line.endswith("\n")]
    anchors += [(int(size), b64decode(hashed), True) for size, hashed, _ in lines]
anchors = sorted((anchor for anchor in anchors if anchor[0]), reverse=True)
for path in sorted(folder.glob("*.seg")):
    data, at = path.read_bytes(), 64
    while anchors and at + 17 < len(data):
        crc, length, found, _ = struct.unpack_from("<IIII", data, at)
        end = at + 17 + length
        if not length or found != number & 0xFFFFFFFF or crc32(data[at + 4 : end]) != crc:
            break
        height, node = 0, sha256(data[at + 16 : end]).digest()
        while tree and tree[-1][0] == height:
            height, node = height + 1, sha256(b"\1" + tree.pop()[1] + node).digest()
        tree.append((height, node))
        at, number = end, number + 1
        while anchors and anchors[-1][0] <= number:
            size, hashed, seen = anchors.pop()
            if size == number and root() != hashed:
                sys.exit(f"changed, deleted, inserted or reordered: among the entries {good[seen]} to {size - 1}")
            good |= {False: size, seen: size}
    if anchors and any(data[at : at + 17]):
        sys.exit(f"damaged: {path.name} byte {at}, entry {number}")
if anchors:
    sys.exit(f"missing: the entries {number} to {anchors[0][0] - 1}")
print(f"{number} entries of {origin}: all verified, root {root().hex()}\nsigned with {checked}")
