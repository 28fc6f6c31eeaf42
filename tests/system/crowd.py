"""Many requests at the same moment, over connections of their own."""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def ask_at_once(url: str, key: str, body: dict[str, Any], count: int) -> list[tuple[int, Any]]:
    """Return status and answer of `count` completions, all under way together; status 0 where the connection broke."""
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    sent = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data
    host, _, port = url.removeprefix("http://").partition(":")
    together = asyncio.Barrier(count)

    async def one() -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection(host, int(port))
        await together.wait()
        try:
            writer.write(sent)
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1]), json.loads(answer)
        except (OSError, IndexError, ValueError):
            return 0, {}
        finally:
            writer.close()

    async with asyncio.timeout(120):
        return await asyncio.gather(*(one() for _ in range(count)))
