"""The HTTP face: which path is answered by which handle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from tokenworks.gateway.errors import ApiError, not_found
from tokenworks.gateway.exchange import Handle, Reply
from tokenworks.gateway.http.incoming import Incoming
from tokenworks.gateway.openai.wire import Conversation

TOKENS = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/classify": "classify",
    "/v1/classify": "classify",
}


class Face:
    """Answer HTTP requests.

    `tokens` answers every path of `TOKENS`; `routes` maps (method, path) to the name of an endpoint and its handle,
    where each `*` in the path stands for a name. `at_once` may answer a request that is complete without a task.
    """

    def __init__(
        self,
        tokens: Handle,
        routes: Mapping[tuple[str, str], tuple[str, Handle]],
        *,
        max_body: int,
        at_once: Callable[[Incoming], bool] | None = None,
    ) -> None:
        self.at_once = at_once or never
        token_routes = {("POST", path): (endpoint, tokens) for path, endpoint in TOKENS.items()}
        self._exact = {**{key: value for key, value in routes.items() if "*" not in key[1]}, **token_routes}
        self._named = [(method, _pattern(path), to) for (method, path), to in routes.items() if "*" in path]
        self._max_body = max_body
        self.served = (*routes, *token_routes)  # every method and path that is answered

    async def __call__(self, incoming: Incoming) -> None:
        """Answer a request."""
        conversation = Conversation(incoming, max_body=self._max_body)
        try:
            await conversation.answer(await self._reply(conversation, incoming))
        except asyncio.CancelledError:
            if not conversation.gone:
                await conversation.cut_off()

    async def _reply(self, conversation: Conversation, incoming: Incoming) -> Reply:
        found = self._exact.get((incoming.method, incoming.path))
        if found is not None:
            endpoint, handle = found
            return await handle(conversation.exchange(endpoint))
        for known_method, pattern, (endpoint, handle) in self._named:
            if incoming.method == known_method and (named := pattern.fullmatch(incoming.raw_path)):
                return await handle(conversation.exchange(endpoint, *map(unquote, named.groups())))
        return self._unknown(incoming.method, incoming.path, incoming.raw_path).reply(conversation.request_id)

    def _methods(self, path: str, raw_path: str) -> set[str]:
        named = {method for method, pattern, _ in self._named if pattern.fullmatch(raw_path)}
        return named | {method for method, exact in self._exact if exact == path}

    def _unknown(self, method: str, path: str, raw_path: str) -> ApiError:
        methods = sorted(self._methods(path, raw_path))
        if methods:
            message = f"{path[:200]} is asked with {' or '.join(methods)}, not {method}"
            allow = (("allow", ", ".join(methods)),)
            return ApiError(405, message, code="method_not_allowed", headers=allow)
        paths = ", ".join(sorted({path for _, path in self._exact}))
        return not_found(f"{method} {path[:200]} does not exist; there are: {paths}", code="unknown_url")


def never(incoming: Incoming) -> bool:
    """Answer nothing without a task."""
    return False


def _pattern(path: str) -> re.Pattern[str]:
    """Return what matches `path` with a name for each `*`; a name that holds a slash comes with it encoded."""
    return re.compile("([^/]+)".join(map(re.escape, path.split("*"))))
