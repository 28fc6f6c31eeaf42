"""What goes between the ingest stage and its worker processes: frames of MessagePack over pipes."""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

from tokenworks.line.ingest.params import Limits

_HEAD = struct.Struct("<I")


class Hello(msgspec.Struct, frozen=True, tag=True):
    """First message to a worker."""

    limits: Limits
    read_as: dict[str, str]
    secrets: str
    config: str
    cache: str
    memory_mb: int
    terms: dict[str, list[str]]  # dictionary name -> values; they travel by pipe, never on disk


class Job(msgspec.Struct, frozen=True, tag=True):
    """A file to read."""

    number: int
    absolute: bytes
    path: str
    size: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker has started, or is still alive."""


class Chunk(msgspec.Struct, frozen=True, tag=True):
    """Some items of the file being read."""

    number: int
    key: str
    seq: int
    data: bytes


class Done(msgspec.Struct, frozen=True, tag=True):
    """A file is finished: its result is under `key`, or there is a reason why not."""

    number: int
    key: str = ""
    chunks: int = 0
    cached: bool = False
    reason: str = ""
    detail: str = ""


_encode = msgspec.msgpack.Encoder().encode
_to_worker = msgspec.msgpack.Decoder(Hello | Job)
_from_worker = msgspec.msgpack.Decoder(Ready | Chunk | Done)


def frame(message: msgspec.Struct) -> bytes:
    """Return `message` with its length before it."""
    data = _encode(message)
    return _HEAD.pack(len(data)) + data


def receive(stream: BinaryIO) -> Hello | Job | None:
    """Return the next message to a worker, or None at the end of the stream."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    data = stream.read(_HEAD.unpack(head)[0])
    message: Hello | Job = _to_worker.decode(data)
    return message


def take(buffer: bytearray) -> Ready | Chunk | Done | None:
    """Remove and return the first whole message from a worker in `buffer`, or None."""
    if len(buffer) < _HEAD.size:
        return None
    end = _HEAD.size + _HEAD.unpack_from(buffer)[0]
    if len(buffer) < end:
        return None
    message: Ready | Chunk | Done = _from_worker.decode(memoryview(buffer)[_HEAD.size : end])
    del buffer[:end]
    return message
