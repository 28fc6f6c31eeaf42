"""Which paths of /v1/responses are answered by what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tokenworks.gateway.exchange import Handle, Layer, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.platform.call import endpoint
from tokenworks.gateway.responses.form import Form
from tokenworks.gateway.responses.responses import Responses
from tokenworks.gateway.translate import translated


def responses_face(responses: Responses, tokens: Handle, around: Sequence[Layer]) -> Routes:
    """Return the routes; `around` are the layers of those that ask no model."""
    at = "/v1/responses"
    return {
        ("POST", at): ("chat.completions", translated(tokens, partial(Form, responses))),
        ("GET", f"{at}/*"): ("responses", fold(around, endpoint("infer", responses.get))),
        ("DELETE", f"{at}/*"): ("responses", fold(around, endpoint("infer", responses.delete))),
        ("POST", f"{at}/*/cancel"): ("responses", fold(around, endpoint("infer", responses.cancel))),
        ("GET", f"{at}/*/input_items"): ("responses", fold(around, endpoint("infer", responses.items))),
    }
