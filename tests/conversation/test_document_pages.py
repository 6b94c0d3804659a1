"""The specification of how the pages of a PDF are found."""

from __future__ import annotations

import base64
import time

import pytest

from app.conversation.tokens.document_pages import count_pages

TREE = b"2 0 obj\n<< /Type /Pages\n   /Kids [ 3 0 R 4 0 R ]\n   /Count 17 >>\nendobj\n"
BRANCH = b"5 0 obj <</Type/Pages/Parent 2 0 R/Count 4/Kids[6 0 R 7 0 R]>> endobj\n"
OUTLINE = b"9 0 obj << /Type /Outlines /First 10 0 R /Count 240 >> endobj\n"
LINEARIZED = b"1 0 obj\n<< /Linearized 1 /L 812345 /O 14 /N 33 /T 811000 >>\nendobj\n"
PAGE = b"6 0 obj <</Type /Page /Parent 2 0 R>> endobj\n"
PACKED = b"1 0 obj <</Type /ObjStm /N 90 /Filter /FlateDecode>> stream " + bytes(range(256)) * 1000


def pages(*parts: bytes) -> int:
    return count_pages(base64.b64encode(b"%PDF-1.7\n" + b"".join(parts) + b"%%EOF").decode())


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        ((TREE,), 17),
        ((BRANCH, TREE, BRANCH), 17),
        ((TREE, OUTLINE), 17),
        ((TREE, bytes(2_000_000)), 17),
        ((bytes(2_000_000), TREE), 17),
        ((LINEARIZED, bytes(2_000_000)), 33),
        ((b"<< /Count 8 /Type /Pages >>",), 8),
        ((PAGE * 5,), 5),
        ((PACKED,), 6),
        ((), 1),
        ((b"<< /Type /Pages /Count 0 >>",), 1),
        ((b"<< /Type /Pages /Count 999999 >>",), 1000),
    ],
    ids=[
        "tree", "branches", "outline", "tree-first", "tree-last", "linearized", "count-first", "pages-alone", "packed",
        "empty", "no-pages", "too-many",
    ],
)  # fmt: skip
def test_pages_are_read_from_the_ends(parts: tuple[bytes, ...], count: int) -> None:
    assert pages(*parts) == count


def test_damaged_data_is_one_page() -> None:
    assert count_pages("\u00fc!") == 1
    assert count_pages("") == 1


def test_a_large_document_takes_no_time() -> None:
    data = base64.b64encode(b"%PDF-1.7\n" + b"/Type /Pages /Count " * 1_000_000).decode()

    start = time.perf_counter()
    count_pages(data)

    assert time.perf_counter() - start < 0.25
