"""A second network namespace behind a veth pair, and a count of the TCP payload that crosses it."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

HERE, FAR = "10.213.77.1", "10.213.77.2"
ETH_P_ALL = 3
SYN = 2


class Far:
    """A namespace with one way in and out. Use as a context manager."""

    def __init__(self) -> None:
        self.name = f"twfar{os.getpid()}"
        self.device = f"twv{os.getpid()}"[:15]
        self._peer = f"twp{os.getpid()}"[:15]

    def __enter__(self) -> Self:
        ip("netns", "add", self.name)
        ip("link", "add", self.device, "type", "veth", "peer", "name", self._peer, "netns", self.name)
        ip("addr", "add", f"{HERE}/30", "dev", self.device)
        ip("link", "set", self.device, "up")
        ip("-n", self.name, "addr", "add", f"{FAR}/30", "dev", self._peer)
        ip("-n", self.name, "link", "set", self._peer, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ip("link", "del", self.device)
        ip("netns", "del", self.name)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start `command` over there."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], stdout=subprocess.PIPE, text=True)


class Count:
    """The payload of every TCP stream that crosses `device`, each byte of a stream counted once."""

    def __init__(self, device: str) -> None:
        self.packets = 0  # of IPv4, whatever they carry
        self._pieces: defaultdict[tuple[str, int, str, int, int], set[tuple[int, int]]] = defaultdict(set)
        self._born: dict[tuple[str, int, str, int], int] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.bind((device, 0))
        self._socket.settimeout(0.1)
        self._over = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def sent(self, source: str) -> int:
        """Return the bytes that `source` has sent."""
        return sum(_covered(pieces) for key, pieces in list(self._pieces.items()) if key[0] == source)

    def close(self) -> None:
        """Listen no more."""
        self._over = True
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._over:
            try:
                self._take(self._socket.recv(1 << 17))
            except TimeoutError:
                continue

    def _take(self, frame: bytes) -> None:
        if frame[12:14] != b"\x08\x00":
            return
        self.packets += 1
        packet = frame[14:]
        if packet[9] != socket.IPPROTO_TCP:
            return
        total = struct.unpack("!H", packet[2:4])[0]
        tcp = packet[(packet[0] & 15) * 4 : total]
        source, to = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        source_port, to_port, number = struct.unpack("!HHI", tcp[:8])
        size = len(tcp) - (tcp[12] >> 4) * 4
        stream = (source, source_port, to, to_port)
        if tcp[13] & SYN:
            self._born[stream] = number + 1
        if size:
            born = self._born[stream]  # a port used again is another stream
            begin = (number - born) % (1 << 32)
            self._pieces[(*stream, born)].add((begin, begin + size))


def _covered(pieces: set[tuple[int, int]]) -> int:
    total, reached = 0, 0
    for begin, end in sorted(pieces):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def ip(*arguments: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def why_not() -> str:
    """Return why this machine cannot make a namespace, or nothing."""
    if not hasattr(socket, "AF_PACKET") or shutil.which("ip") is None:
        return "needs Linux and iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"twprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace may be made here: {made.stderr.strip()}"
    ip("netns", "del", name)
    return ""
