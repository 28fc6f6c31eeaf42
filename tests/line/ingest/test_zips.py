from __future__ import annotations

import io
import zipfile

import pytest

from tokenworks.line.ingest import zips
from tokenworks.line.ingest.detect.dictionary import Terms
from tokenworks.line.ingest.examine import Examiner, Item
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import UnreadableError

PROSE = "The quick brown fox jumps over the lazy dog and then it sleeps in the sun for the rest of the day.\n"


def packed(**members: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def items(data: bytes, limits: Limits | None = None) -> dict[str, Item]:
    examiner = Examiner(limits or Limits(), {}, "mask", Terms({}))
    return {item.part: item for item in examiner.examine(io.BytesIO(data), "pack.zip", "0" * 64)}


def reasons(data: bytes, limits: Limits | None = None) -> dict[str, str]:
    return {part: item.reason for part, item in items(data, limits).items()}


def test_members_are_read_by_their_readers_in_the_order_of_their_names():
    got = items(packed(**{"z.md": "# Zed\n" + PROSE, "a/b.txt": PROSE, "empty.txt": "", "x.bin": "?"}))
    assert {part: item.reason for part, item in got.items()} == {
        "!/a/b.txt": "",
        "!/empty.txt": "empty",
        "!/x.bin": "no-reader",
        "!/z.md": "",
    }
    assert list(got) == sorted(got)
    assert got["!/z.md"].title == "Zed"
    assert len(got["!/z.md"].sha256) == 64


def test_names_that_lead_out_of_the_archive_are_set_aside():
    names = ["../evil.md", "/etc/evil.md", "a/../../evil.md", "C:\\evil.md", "..\\evil.md"]
    got = reasons(packed(**dict.fromkeys(names, PROSE)))
    assert set(got.values()) == {"unsafe-path"}
    assert len(got) == len(names)


def test_archives_inside_archives_are_read_down_to_a_depth():
    inner = packed(**{"deep.md": PROSE})
    for _ in range(4):
        inner = packed(**{"more.zip": inner, "here.md": PROSE})
    got = reasons(inner, Limits(archive_depth=3))
    assert got["!/here.md"] == got["!/more.zip!/more.zip!/here.md"] == ""
    assert got["!/more.zip!/more.zip!/more.zip"] == "too-deep"


def test_a_member_that_unpacks_a_thousandfold_is_a_bomb():
    got = reasons(packed(**{"bomb.txt": b"0" * (8 << 20), "fine.md": PROSE}))
    assert got == {"!/bomb.txt": "zip-bomb", "!/fine.md": ""}


def test_an_archive_whose_members_together_are_too_much_is_a_bomb():
    block = bytes(range(32, 127)) * 2000
    data = packed(**{f"{number}.txt": block for number in range(20)})
    got = reasons(data, Limits(archive_bytes=10 * len(block)))
    assert got[""] == "zip-bomb"
    assert sum(reason == "" for reason in got.values()) == 10


def test_a_header_that_lies_about_the_size_is_not_believed():
    data = bytearray(packed(**{"a.txt": "x" * 5000}))
    directory = data.index(b"PK\x01\x02")
    for place in (22, directory + 24):
        data[place : place + 4] = (10).to_bytes(4, "little")
    got = reasons(bytes(data))
    assert set(got.values()) <= {"damaged", ""}
    assert len(got) == 1


def test_encrypted_members_and_links_are_set_aside():
    data = bytearray(packed(**{"locked.txt": PROSE}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert reasons(bytes(data)) == {"!/locked.txt": "encrypted"}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert reasons(out.getvalue()) == {"!/link.md": "symlink"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_one_document():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.md", PROSE)
        archive.writestr("a.md", PROSE * 2)
    examiner = Examiner(Limits(), {}, "mask", Terms({}))
    got = list(examiner.examine(io.BytesIO(out.getvalue()), "pack.zip", ""))
    assert sorted(item.reason for item in got) == ["", "duplicate-name"]


def test_a_cut_archive_and_an_empty_one_have_a_reason():
    assert reasons(packed(**{"a.md": PROSE})[:-30]) == {"": "damaged"}
    assert reasons(packed()) == {"": "empty"}


def test_too_many_members_are_refused_before_any_is_read():
    data = packed(**{f"{number}.md": "x" for number in range(50)})
    assert reasons(data, Limits(archive_members=10)) == {"": "zip-bomb"}


def test_a_flipped_bit_is_damaged_and_the_next_member_is_read():
    data = bytearray(packed(**{"a.md": PROSE * 50, "b.md": PROSE}))
    data[60] ^= 0xFF
    got = reasons(bytes(data))
    assert got == {"!/a.md": "damaged", "!/b.md": ""}


def test_an_office_file_is_weighed_before_it_is_opened():
    zips.refuse_bomb(packed(**{"a.xml": PROSE}), Limits())
    with pytest.raises(UnreadableError, match="zip-bomb"):
        zips.refuse_bomb(packed(**{"a.xml": b"0" * (64 << 20)}), Limits(archive_ratio=100))
    with pytest.raises(UnreadableError, match="damaged"):
        zips.refuse_bomb(b"PK", Limits())
