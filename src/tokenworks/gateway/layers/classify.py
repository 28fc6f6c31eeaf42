"""What is asked: read and parse the body, and take the label that the caller declares for its text."""

from __future__ import annotations

from tokenworks.core.errors import ConfigError
from tokenworks.core.ids import pseudonym
from tokenworks.core.label import Label
from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.openai.bodies import parse


async def classify(exchange: Exchange, proceed: Handle) -> Reply:
    """Set body, request and label; the label stays open where nothing was declared."""
    exchange.body = await exchange.read()
    try:
        exchange.label = Label.parse(exchange.declared) if exchange.declared else None
    except ConfigError as error:
        raise bad_request(f"header x-tokenworks-label: {error}", param="x-tokenworks-label") from None
    exchange.asked = asked = parse(exchange.endpoint, exchange.body)
    about_whom(exchange, asked.user, asked.conversation, store=asked.store)
    return await proceed(exchange)


def about_whom(exchange: Exchange, user: str, conversation: str, *, store: bool) -> None:
    """Note for whom the caller asks, by pseudonyms, and whether anything may be learned from the answer."""
    who = exchange.who
    exchange.user = pseudonym(who.tenant, user)
    exchange.conversation = pseudonym(who.tenant, exchange.conversation or conversation)
    exchange.may_learn = exchange.may_learn and store and "learn" in who.scopes
