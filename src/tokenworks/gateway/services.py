"""What may be asked besides models, each with the duties that it passes on its way in."""

from __future__ import annotations

from tokenworks.gateway.answer import answerer
from tokenworks.gateway.duties import Duties
from tokenworks.gateway.exchange import Layer, Routes
from tokenworks.gateway.feedback import Feedback, feedback_face
from tokenworks.gateway.layers.border import border
from tokenworks.gateway.layers.service import Service
from tokenworks.gateway.models import models_face
from tokenworks.gateway.moderations import moderations_face
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.platform.elsewhere import worker
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.platform.routes import Platform, platform, platform_face
from tokenworks.gateway.responses.background import Background
from tokenworks.gateway.responses.responses import Responses
from tokenworks.gateway.responses.routes import responses_face
from tokenworks.gateway.search import search_face
from tokenworks.gateway.ways import Ways


def services(parts: GatewayParts, duties: Duties) -> Routes:
    """Return the routes of what every gateway has. What looks at texts is on the ledger."""
    record, identify, admit = duties.record, duties.identify, duties.admit
    records, search = parts.records, Service(duties.rules, "search")
    feedback = Feedback(record.notes, records.ledger, records.bodies, records.lookup)
    return {
        **models_face(parts.releases, [border, identify]),
        **feedback_face(feedback, _allowed(duties, "feedback")),
        **search_face(parts.search, [record, identify, search, admit]),
        **moderations_face(parts.detectors, [record, identify, admit]),
    }


def platform_services(given: Parts, parts: GatewayParts, duties: Duties, ways: Ways) -> tuple[Platform, Routes]:
    """Return the platform, and the routes of what it and the responses are asked."""
    admit, texts = duties.admit, parts.records.texts
    most = given.settings.background_concurrency
    find = duties.record.notes.find
    background = Background(given.objects, texts, ways.standing_in, find, home=given.home, concurrency=most)
    added = platform(given, parts.releases, answerer(ways.standing_in), lambda: admit.in_flight, background)
    responses = Responses(given.objects, texts, worker(given.server, "response", background), given.home)
    return added, {
        **responses_face(responses, ways.later, [border, duties.identify, admit]),
        **platform_face(added, lambda action: _allowed(duties, action)),
    }


def _allowed(duties: Duties, action: str) -> list[Layer]:
    """Return the layers that let in who may do `action`."""
    return [border, duties.identify, Service(duties.rules, action), duties.admit]
