"""A refusal as the OpenAI API writes it: a status and an error object that says what to do next."""

from __future__ import annotations

import msgspec


class Problem(Exception):
    """A request that cannot be answered; becomes `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> bytes:
        """Return the error object as JSON."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


def invalid(message: str, param: str | None = None, code: str | None = None) -> Problem:
    """Return the refusal of a request that is wrong in itself."""
    return Problem(400, message, param=param, code=code)
