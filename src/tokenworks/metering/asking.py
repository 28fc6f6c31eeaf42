"""One JSON answer by HTTP, soon or not at all."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException

import msgspec

from tokenworks.metering.source import MeterError

PATIENCE_S = 2.0
MOST_BYTES = 1 << 20


def ask(url: str, header: str = "") -> object:
    """Return what `url` answers as JSON; raise `MeterError` where it does not, naming what it did."""
    name, _, value = header.partition(":")
    headers = {"accept": "application/json"} | ({name.strip(): value.strip()} if value else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a meter stands in this house
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=PATIENCE_S) as answer:
            return msgspec.json.decode(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise MeterError(f"{url} answered {error.code}") from None
    except (OSError, HTTPException) as error:
        raise MeterError(f"{url} cannot be asked: {error}") from None
    except msgspec.DecodeError as error:
        raise MeterError(f"{url} did not answer JSON: {error}") from None
