from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from tokenworks.core.document import Document, SetAside
from tokenworks.core.errors import IntegrityError
from tokenworks.core.label import Label
from tokenworks.line.ingest.labels import document_label
from tokenworks.line.ingest.report import Tally


def tally_of(kept: int, reasons: list[str]) -> Tally:
    tally = Tally()
    for number in range(kept):
        text = "text " * number
        document = Document(path=f"{number}", source="s", sha256="0", media_type="text/plain", text=text, language="en")
        tally.keep(document, "utf-8")
        tally.file(10, 1)
    for reason in reasons:
        tally.leave(SetAside(path="x", source="s", reason=reason))
        tally.file(5, 0)
    return tally


def test_what_came_in_is_kept_or_set_aside_by_reason():
    report = tally_of(3, ["empty", "binary", "empty"]).report(2.0, Counter({"*.so": 4}))
    assert (report.documents.seen, report.documents.kept, report.documents.set_aside) == (6, 3, 3)
    assert report.set_aside == {"empty": 2, "binary": 1}
    assert (report.files.seen, report.files.kept, report.bytes_read) == (6, 3, 45)
    assert report.documents_per_s == 3.0
    assert report.excluded == {"*.so": 4}


def test_a_report_that_does_not_add_up_is_refused():
    report = tally_of(2, ["empty"]).report(1.0, Counter())
    lost = msgspec.structs.replace(report, documents=msgspec.structs.replace(report.documents, seen=4))
    with pytest.raises(IntegrityError, match="documents: 4 came in, 3"):
        lost.check()


def test_a_document_that_nobody_labelled_is_internal():
    assert document_label([], "", {}, {}) == (Label.INTERNAL, False)


def test_a_document_may_say_that_it_is_public_but_cannot_lower_its_folder():
    assert document_label([], "public", {}, {})[0] == Label.PUBLIC
    assert document_label([Label.CONFIDENTIAL], "public", {}, {})[0] == Label.CONFIDENTIAL


@pytest.mark.parametrize(
    ("found", "label"),
    [
        ({"email": 3}, Label.PUBLIC),
        ({"email": 20}, Label.CONFIDENTIAL),
        ({"iban": 1}, Label.CONFIDENTIAL),
        ({"us-ssn": 1, "email": 1}, Label.RESTRICTED),
        ({"secret:jwt": 1}, Label.RESTRICTED),
        ({"dictionary:names": 1}, Label.INTERNAL),
    ],
)
def test_findings_raise_the_label(found, label):
    assert document_label([Label.PUBLIC], "", found, {"dictionary:names": Label.INTERNAL})[0] == label
