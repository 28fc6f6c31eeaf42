"""Refusals and failures as OpenAI error objects. Every message says what to do next."""

from __future__ import annotations

import msgspec

from tokenworks.serving.answer import EngineAnswer

JSON = ("content-type", "application/json")


class ApiError(Exception):
    """An answer that is not what was asked for. Raised by any layer, made into an HTTP answer by the outermost."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.kind = kind
        self.param = param
        self.headers = headers

    def body(self, request_id: str) -> bytes:
        """Return the OpenAI error object; the request id stands in it too, for those who log only bodies."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": {**error, "request_id": request_id}})

    def reply(self, request_id: str) -> EngineAnswer:
        """Return the HTTP answer."""
        return EngineAnswer(status=self.status, body=self.body(request_id), headers=(JSON, *self.headers))


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """The request cannot be meant as it stands."""
    return ApiError(400, message, code=code, param=param)


def unauthenticated(message: str) -> ApiError:
    """Nobody we know asks."""
    return ApiError(
        401, message, code="invalid_api_key", kind="authentication_error", headers=(("www-authenticate", "Bearer"),)
    )


def forbidden(message: str, *, code: str = "permission_denied", param: str | None = None) -> ApiError:
    """Somebody we know asks for what they may not."""
    return ApiError(403, message, code=code, kind="permission_error", param=param)


def not_found(message: str, *, code: str = "not_found", param: str | None = None) -> ApiError:
    """The thing named does not exist, or not for this caller."""
    return ApiError(404, message, code=code, param=param)


def unavailable(message: str, *, code: str, retry_after_s: float) -> ApiError:
    """Not now, but soon."""
    after = (("retry-after", str(max(1, round(retry_after_s)))),)
    return ApiError(503, message, code=code, kind="server_error", headers=after)


def engine_failed(message: str) -> ApiError:
    """The engine broke; asking again is right."""
    return ApiError(502, message, code="engine_error", kind="server_error", headers=(("retry-after", "1"),))


def internal(request_id: str) -> ApiError:
    """Our own fault; the details are in the log, not in the answer."""
    message = f"the gateway failed on this request; its log has the reason under request id {request_id}"
    return ApiError(500, message, code="internal_error", kind="server_error")
