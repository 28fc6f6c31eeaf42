"""A witness that is asked over HTTP (c2sp.org/tlog-witness): it never sees the log, only proofs of its growth."""

from __future__ import annotations

from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore

from tokenworks.core.errors import ConfigError, IntegrityError, TokenworksError
from tokenworks.ledger.checkpoint import open_checkpoint
from tokenworks.ledger.proof import read_growth
from tokenworks.ledger.witness import CHECKPOINT, HISTORY, PUBLIC, StaleError, Witness

MAX_BODY_BYTES = 128 << 10  # a proof has at most 63 hashes, and a note 64 KiB
MOST_AT_ONCE = 32
PATIENCE_S = 10.0  # for a caller who sends slowly
SIZE_TYPE = "text/x.tlog.size"


class WitnessServer(ThreadingHTTPServer):
    """The witness on a socket; `serve_forever` until `shutdown`."""

    daemon_threads = True

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        self.witness = witness
        self.room = BoundedSemaphore(MOST_AT_ONCE)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror}; name another") from None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    timeout = PATIENCE_S

    def do_POST(self) -> None:
        if self.path != "/add-checkpoint":
            self._answer(404, "POST /add-checkpoint is all there is")
            return
        if not self.server.room.acquire(blocking=False):
            self._answer(503, "busy; ask again in a second")
            return
        try:
            self._add()
        finally:
            self.server.room.release()

    def do_GET(self) -> None:
        """Give out what it remembers: public, and checked by its signatures."""
        names = self.path.strip("/").split("/")
        folder = self.server.witness.folder
        known = {each.name for each in folder.iterdir() if each.is_dir()}
        if names == [PUBLIC]:
            self._answer(200, (folder / PUBLIC).read_text())
        elif len(names) == 2 and names[0] in known and names[1] in (CHECKPOINT, HISTORY):
            path = folder / names[0] / names[1]
            self._answer(200, path.read_text(encoding="utf-8")) if path.exists() else self._answer(404, "not seen yet")
        else:
            self._answer(404, f"/{PUBLIC}, /SHA256(ORIGIN)/{CHECKPOINT} and /SHA256(ORIGIN)/{HISTORY} are here")

    def _add(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self._answer(413 if length.isdecimal() else 411, f"send a body of at most {MAX_BODY_BYTES} bytes")
            return
        body = self.rfile.read(int(length))
        witness = self.server.witness
        try:
            proof = body.decode()
            _, _, written = read_growth(proof)
        except (UnicodeDecodeError, IntegrityError) as error:
            self._answer(400, f"no proof of growth: {error}")
            return
        try:
            _, found = open_checkpoint(written, witness.log_key)
        except IntegrityError as error:
            self._answer(403, str(error))
            return
        try:
            cosigned = witness.add(proof)
        except StaleError as stale:
            self._answer(409, f"{stale.size}\n", SIZE_TYPE)
        except IntegrityError as error:
            last = witness.last(found.origin)
            forgets = last is not None and found.size < last.checkpoint.size
            self._answer(409 if forgets else 422, str(error))
        except TokenworksError as error:
            self._answer(500, str(error))
        else:
            own = [one.line for one in cosigned.signatures if one.name == witness.public.name]
            self._answer(200, "".join(own))

    def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: what it cosigned is in its folder."""


def folder_name(origin: str) -> str:
    """Return the name under which a witness keeps a log."""
    return sha256(origin.encode()).hexdigest()
