"""An engine stand-in of known throughput: SLOTS requests at a time, each SERVICE seconds; says where it listens.

It does no work: like an accelerator that decodes a full batch, it needs its slots filled to reach its throughput.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import httptools
import uvloop

SLOTS, SERVICE_S = int(sys.argv[1]), float(sys.argv[2])
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stand-in",
     "choices": [{"index": 0, "message": {"role": "assistant", "content": "billing"}, "finish_reason": "stop"}],
     "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}}
).encode()  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    slots: asyncio.Semaphore
    busy_s = 0.0
    done = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer when a slot was free for as long as an answer takes."""
        self.task = asyncio.get_running_loop().create_task(self.answer())

    async def answer(self) -> None:
        """Take a slot, and time."""
        async with self.slots:
            await asyncio.sleep(SERVICE_S)
            Connection.done += 1
        self.transport.write(HEAD + ANSWER)


async def main() -> None:
    """Serve until standard input ends."""
    Connection.slots = asyncio.Semaphore(SLOTS)
    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(Connection, sock=listening)
    print(listening.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


uvloop.run(main())
