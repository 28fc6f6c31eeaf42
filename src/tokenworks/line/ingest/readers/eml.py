"""E-mail messages (RFC 5322): the head that people read and the best text body."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from typing import BinaryIO

from tokenworks.line.ingest.markup import to_text
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, UnreadableError, read_whole

SUFFIXES = (".eml",)
MEDIA_TYPE = "message/rfc822"
VERSION = "1"


def read(stream: BinaryIO, path: str, limits: Limits) -> Iterator[RawDocument]:
    """Yield the message as one text; attachments are not followed."""
    message = email.message_from_bytes(read_whole(stream, limits), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain", "html"))
    if body is None:
        raise UnreadableError("no-text", "the message has no text part")
    try:
        text = str(body.get_content())
    except (LookupError, UnicodeDecodeError, KeyError) as error:
        raise UnreadableError("mis-encoded", str(error)) from None
    if body.get_content_type() == "text/html":
        _, text, _ = to_text(text)
    head = [f"{name}: {message[name]}" for name in ("From", "To", "Date", "Subject") if message[name]]
    yield RawDocument(text="\n".join(head) + "\n\n" + text, title=str(message["Subject"] or ""))
