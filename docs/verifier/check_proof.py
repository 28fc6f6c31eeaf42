"""Check that an entry is in a ledger, with `cryptography` alone: check_proof.py PROOF VKEY [WITNESS_VKEY ...]"""

import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def signed(note: str, vkey: str) -> None:
    """End with an error unless `vkey` signed the note. c2sp.org/signed-note; 4: c2sp.org/tlog-cosignature."""
    (text, _, lines), (name, key_id, key) = note.rpartition("\n\n"), vkey.split("+", 2)
    found = [b64decode(line.split(" ")[2]) for line in lines.splitlines() if line.startswith(f"— {name} ")]
    signature = next((each[4:] for each in found if each[:4].hex() == key_id), None) or sys.exit(f"not by {name}")
    data, message = b64decode(key), f"{text}\n"
    if data[0] == 255:  # of its own kind: a name, then the key; needs cryptography 48
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        return MLDSA44PublicKey.from_public_bytes(data.removeprefix(b"\xffML-DSA-44")).verify(
            signature, message.encode()
        )
    if data[0] == 4:
        message, signature = f"cosignature/v1\ntime {int.from_bytes(signature[:8])}\n{message}", signature[8:]
    return Ed25519PublicKey.from_public_bytes(data[1:]).verify(signature, message.encode())


def root_from(index: int, size: int, node: bytes, path: list[bytes]) -> bytes:
    """Return the root to which the audit path leads. RFC 9162, 2.1.3.2."""
    last = size - 1
    for sibling in path:
        if index & 1 or index == last:
            node = sha256(b"\1" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return node if last == 0 else b""


(head, _, note), vkeys = Path(sys.argv[1]).read_text(encoding="utf-8").partition("\n\n"), " ".join(sys.argv[2:]).split()
for vkey in vkeys:
    signed(note, vkey)
origin, size, root = note.split("\n")[:3]
_, extra, number, *path = head.split("\n")
entry, index = b64decode(extra.removeprefix("extra ")), int(number.removeprefix("index "))
leaf = sha256(b"\0" + entry).digest()
if not 0 <= index < int(size) or root_from(index, int(size), leaf, [*map(b64decode, path)]) != b64decode(root):
    sys.exit("the entry is not in the log")
if not vkeys or not origin.startswith(vkeys[0].split("+")[0] + "/"):
    sys.exit("not a log of the first key")
print(f"entry {index} of {origin}, as of {size} entries, signed by {len(vkeys)}: {entry!r}")
