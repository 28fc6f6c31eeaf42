"""What the command logs: where something broke and what kind of error it was, and nobody's text."""

import asyncio
import json

import pytest
import structlog

from tokenworks.cli.logs import log_to_stderr
from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.gateway.exchange import Exchange, whole
from tokenworks.gateway.layers.border import border


@pytest.fixture(autouse=True)
def _as_before():
    yield
    structlog.reset_defaults()


def break_inside(words):
    """Answer a request whose handle breaks, with its prompt in a variable and in the error's words."""

    async def breaks(exchange):
        prompt = "marmalade " * 3
        raise ValueError(words + prompt)

    exchange = Exchange(endpoint="chat.completions", read=whole(b"marmalade"), request_id="req-1", credential="tw-key")
    return asyncio.run(border(exchange, breaks))


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_nobody_expected_is_logged_with_its_place_and_kind_alone(form, capsys):
    log_to_stderr(form)
    assert break_inside("cannot use ").status == 500
    logged = capsys.readouterr().err
    assert "ValueError" in logged
    assert "in breaks" in logged
    assert "req-1" in logged
    for content in ("marmalade marmalade", "tw-key"):
        assert content not in logged


def test_words_of_our_own_errors_are_kept_with_what_led_to_them(capsys):
    log_to_stderr("json")
    try:
        try:
            raise KeyError("marmalade")
        except KeyError as error:
            raise EngineError("engine at 127.0.0.1:1 hung up") from error
    except EngineError:
        structlog.get_logger().exception("request failed")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("request failed", "error")
    assert "engine at 127.0.0.1:1 hung up" in line["exception"]
    assert line["exception"].index("KeyError") < line["exception"].index("EngineError")
    assert "marmalade" not in line["exception"].replace('raise KeyError("marmalade")', "")


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="choose text or json"):
        log_to_stderr("xml")
