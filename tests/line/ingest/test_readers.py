from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tokenworks.line.ingest.examine import load_reader
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import RawDocument, Rejected, UnreadableError


def read(name: str, data: bytes, path: str = "file", **limits: int) -> list[RawDocument | Rejected]:
    return list(load_reader(name).read(io.BytesIO(data), path, Limits(**limits)))


def test_markdown_front_matter_gives_title_label_and_licence_and_leaves_the_text():
    data = b'---\ntitle: "A plan"\nlabel: confidential # for now\nlicense: MIT\ntags: [a]\n---\n# Head\nBody\n'
    (got,) = read("markdown", data)
    assert (got.title, got.label, got.licence) == ("A plan", "confidential", "MIT")
    assert got.text == "# Head\nBody\n"


def test_markdown_toml_front_matter_is_read_too():
    (got,) = read("markdown", b'+++\ntitle = "T"\nlabel = "public"\n+++\nBody')
    assert (got.title, got.label, got.text) == ("T", "public", "Body")


def test_markdown_without_front_matter_is_titled_by_its_first_heading():
    (got,) = read("markdown", b"intro\n\n## The heading ##\ntext\n---\nlabel: public\n---\n")
    assert (got.title, got.label) == ("The heading", "")


def test_html_keeps_headings_lists_tables_and_code_and_drops_scripts_and_navigation():
    page = b"""<html><head><title>T &amp; U</title><meta name="label" content="internal"></head><body>
    <nav>menu</nav><h1>Head</h1><p>One <b>bold</b>
    word.</p><ul><li>first</li><li>second</li></ul>
    <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
    <pre>if x:
    y</pre><script>evil()</script></body></html>"""
    (got,) = read("html", page)
    assert (got.title, got.label) == ("T & U", "internal")
    assert "# Head" in got.text
    assert "One bold word." in got.text
    assert "- first\n- second" in got.text
    assert "a | b\n1 | 2" in got.text
    assert "```\nif x:\n    y\n```" in got.text
    assert "evil" not in got.text
    assert "menu" not in got.text


def test_nested_lists_are_indented_and_paragraphs_in_cells_stay_in_their_row():
    page = b"<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>"
    page += b"<table><tr><td><p>1</p></td><td><p>2</p></td></tr></table>"
    (got,) = read("html", page)
    assert got.text == "- a\n  - b\n  - c\n- d\n\n1 | 2"


def test_html_in_a_declared_encoding_is_read_in_it():
    (got,) = read("html", '<meta charset="iso-8859-2"><p>Łódź</p>'.encode("iso-8859-2"))
    assert "Łódź" in got.text
    assert got.encoding == "iso8859-2"


def test_deeply_nested_html_is_only_a_long_page():
    (got,) = read("html", b"<div>" * 5_000 + b"core" + b"</div>" * 5_000)
    assert "core" in got.text


def test_csv_with_a_text_column_gives_a_document_a_row():
    got = read("csv", b'title,text\nA,first\nB,"second, with comma"\n')
    assert [(each.part, each.title, each.text) for each in got] == [
        ("#1", "A", "first"),
        ("#2", "B", "second, with comma"),
    ]


def test_csv_without_a_text_column_is_one_table_and_semicolons_are_understood():
    (got,) = read("csv", b"year;value\n2020;1,5\n2021;2,5\n")
    assert got.text == "year | value\n2020 | 1,5\n2021 | 2,5"


def test_a_large_table_is_cut_into_pieces_that_repeat_its_head():
    rows = "".join(f"{number},{'x' * 90}\n" for number in range(3000))
    got = read("csv", b"number,payload\n" + rows.encode())
    assert len(got) > 3
    assert all(each.text.startswith("number | payload\n") for each in got)
    assert sum(each.text.count("\n") for each in got) == 3000


def test_jsonl_rows_are_documents_and_a_bad_row_is_set_aside_alone():
    data = (
        b'{"text": "one", "title": "T"}\n{bad}\n{"messages": [{"role": "user", "content": "hi"}]}\n{"a": 1, "b": "x"}\n'
    )
    first, second, third, fourth = read("jsonl", data)
    assert (first.text, first.title, first.part) == ("one", "T", "#1")
    assert (second.reason, second.part) == ("damaged", "#2")
    assert third.text == "user: hi"
    assert fourth.text == "a: 1\nb: x"


def test_a_jsonl_row_beyond_the_limit_ends_the_file_with_a_reason():
    reader = load_reader("jsonl").read(
        io.BytesIO(b'{"text": "fine"}\n"' + b"a" * 5000 + b'"\n'), "f.jsonl", Limits(line_bytes=1000)
    )
    assert next(reader).text == "fine"
    with pytest.raises(UnreadableError, match="line-too-long"):
        next(reader)


def test_source_code_is_kept_as_written_with_its_language():
    (got,) = read("code", b"fn main() {\r\n\tlet x = 1;\r\n}\n", path="src/main.rs")
    assert (got.media_type, got.title) == ("text/x-rust", "main.rs")
    assert "\tlet x = 1;" in got.text


def test_utf16_text_is_split_at_no_line_and_refused_when_large():
    with pytest.raises(UnreadableError, match="UTF-16"):
        read("text", "line\n".encode("utf-16") * 5000, document_bytes=1000)


def test_an_email_keeps_its_head_and_prefers_plain_text():
    data = (
        b"From: a@b.example\nTo: c@d.example\nSubject: Lunch\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/alternative; boundary="x"\n\n'
        b"--x\nContent-Type: text/html\n\n<p>html</p>\n--x\nContent-Type: text/plain\n\nplain\n--x--\n"
    )
    (got,) = read("eml", data)
    assert got.title == "Lunch"
    assert "Subject: Lunch" in got.text
    assert got.text.strip().endswith("plain")


def test_a_word_document_keeps_headings_and_tables(data_folder: Path):
    folder = data_folder / "docs-formats" / "docling" / "docx" / "sources"
    headings, tables = (
        read("docx", (folder / name).read_bytes())[0].text for name in ("unit_test_headers.docx", "word_tables.docx")
    )
    assert "\n# Section 1\n" in headings
    assert "Header 0.0 | Header 0.1 | Header 0.2\nCell 1.0 | Cell 1.1 | Cell 1.2" in tables


def test_an_office_file_that_unpacks_beyond_the_limit_is_a_bomb():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * (8 << 20))
    with pytest.raises(UnreadableError, match="zip-bomb"):
        read("docx", packed.getvalue(), file_bytes=1 << 20)


def test_a_workbook_is_a_document_a_sheet():
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Prices"
    book.active.append(["item", "price"])
    book.active.append(["bolt", 3])
    book.create_sheet("Empty")
    packed = io.BytesIO()
    book.save(packed)
    first, second = read("xlsx", packed.getvalue())
    assert (first.part, first.text) == ("#Prices", "item | price\nbolt | 3")
    assert second.text == ""


def test_pdf_text_comes_in_reading_order_and_without_running_heads(data_folder: Path):
    folder = data_folder / "docs-formats" / "docling" / "pdf" / "sources"
    texts = [read("pdf", path.read_bytes())[0].text for path in sorted(folder.glob("*.pdf"))[:4]]
    assert all(len(text) > 200 for text in texts)
    assert not any("\ufffe" in text or "\r" in text for text in texts)


def test_running_heads_and_page_numbers_are_dropped():
    from tokenworks.line.ingest.readers.pdf import _without_margins

    pages = [["ACME Report 2024", f"Content of {word}.", f"Page {number}"] for number, word in enumerate("abcdef")]
    assert _without_margins(pages) == [[f"Content of {word}."] for word in "abcdef"]


def test_an_encrypted_pdf_says_so():
    pdfium = pytest.importorskip("pypdfium2")
    assert pdfium
    with pytest.raises(UnreadableError, match="damaged"):
        read("pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n")
