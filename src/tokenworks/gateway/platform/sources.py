"""Where the rows of a run come from, and what is asked with each: checked when the run is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenworks.core.errors import DataError
from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.platform.criteria import Message
from tokenworks.gateway.platform.files import lines_of
from tokenworks.gateway.platform.templates import check_template
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import Object

MOST_INLINE = 1000
REFUSED = {
    "responses": "there are no stored responses here; ask a model with completions, or bring the answers with jsonl",
    "stored_completions": "logged requests cannot be read by evals; send the rows as file_content or file_id",
}


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked about, and an answer where one is brought along."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file_content"):
    """Rows in the request itself."""

    content: Annotated[list[Row], Meta(min_length=1, max_length=MOST_INLINE)]


class FileId(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file_id"):
    """Rows in an uploaded file of JSON lines."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="template"):
    """Messages with holes."""

    template: Annotated[list[Message], Meta(min_length=1, max_length=64)]


class ItemReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="item_reference"):
    """Messages that stand in the row, such as item.input."""

    item_reference: str


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """How the model is asked; defaults are OpenAI's, and ours for the length."""

    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: int = 42
    max_completion_tokens: Annotated[int, Meta(ge=1)] = 512
    response_format: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Jsonl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="jsonl"):
    """Rows that bring their answers along, or need none."""

    source: FileContent | FileId


class Completions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="completions"):
    """Rows that a model is asked about."""

    source: FileContent | FileId
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input_messages: Template | ItemReference
    sampling_params: SamplingParams = SamplingParams()


DataSource = Jsonl | Completions


def refuse_unsupported(given: dict[str, Any]) -> None:
    """Raise the 400 that names a kind of source there is not here."""
    inner = given.get("source")
    for kind in (given.get("type"), inner.get("type") if isinstance(inner, dict) else None):
        if isinstance(kind, str) and kind in REFUSED:
            raise bad_request(f"data_source of type {kind!r}: {REFUSED[kind]}", param="data_source")


def check_source(source: DataSource) -> None:
    """Raise 400 for holes that cannot be filled."""
    if isinstance(source, Jsonl):
        return
    if isinstance(source.input_messages, Template):
        for message in source.input_messages.template:
            check_template(message.text, param="data_source.input_messages", sample=False)
    elif not source.input_messages.item_reference.startswith("item."):
        raise bad_request(
            "data_source.input_messages.item_reference must be a name such as item.input",
            param="data_source.input_messages",
        )


def rows_of(source: DataSource, file: Object | None, artifacts: ArtifactStore) -> Iterator[tuple[int, Row]]:
    """Yield the rows with their line numbers, from 1; raise `DataError` naming a line that is none."""
    if isinstance(source.source, FileContent):
        yield from enumerate(source.source.content, 1)
        return
    if file is None:
        raise DataError(f"file {source.source.id} was deleted")
    for number, line in lines_of(artifacts, file):
        try:
            yield number, msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError as error:
            raise DataError(f'line {number}: {error}; a line looks like {{"item": {{...}}}}') from None
