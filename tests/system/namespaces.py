"""Hosts of their own on one machine: network namespaces joined to this one by a cable that can be cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading

import pytest


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def require_namespaces() -> None:
    """Skip where this process may not make network namespaces."""
    for program in ("ip", "unshare", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"network namespaces need the program {program}")
    made = subprocess.run(
        ["unshare", "-n", "ip", "link", "add", "tw0", "type", "veth"], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")


class Host:
    """A namespace with an address; `outside` is our end of the cable."""

    def __init__(self, number: int) -> None:
        net = f"10.{64 + os.getpid() % 64}.{os.getpid() // 64 % 250}.{4 * number}"
        stem, base = net.rsplit(".", 1)
        self.outside, self.inside = f"{stem}.{int(base) + 1}", f"{stem}.{int(base) + 2}"
        self._cable = f"tw{os.getpid() % 100000}h{number}"
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        self.under = ("nsenter", "-t", str(self._holder.pid), "-n")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert self._holder.poll() is None
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        run("ip", "address", "add", f"{self.outside}/30", "dev", self._cable)
        run(*self.under, "ip", "address", "add", f"{self.inside}/30", "dev", "eth0")
        run(*self.under, "ip", "link", "set", "lo", "up")
        run(*self.under, "ip", "link", "set", "eth0", "up")
        self.join()

    def cut(self) -> None:
        """Pull the cable: packets vanish, nobody is told."""
        run("ip", "link", "set", self._cable, "down")

    def join(self) -> None:
        """Plug it in."""
        run("ip", "link", "set", self._cable, "up")

    def close(self) -> None:
        """End the namespace; the cable goes with it."""
        self._holder.kill()
        self._holder.wait()


class Forward:
    """Hands TCP connections on to a Unix socket: how PostgreSQL, which tests reach by file, is behind a network."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listening = socket.create_server(("0.0.0.0", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(taken,), daemon=True).start()

    def _carry(self, taken: socket.socket) -> None:
        with taken, socket.socket(socket.AF_UNIX) as far:
            far.connect(self._path)
            back = threading.Thread(target=self._pass, args=(far, taken), daemon=True)
            back.start()
            self._pass(taken, far)
            back.join()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
        except OSError:
            pass  # the network was cut, or a host killed
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        """Take no more."""
        self._listening.close()
