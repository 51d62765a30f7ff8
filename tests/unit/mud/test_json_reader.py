"""Limits apply before anything is built from a stranger's file."""

from __future__ import annotations

import json
import time

import pytest

from mud import MAX_FILE_OCTETS, Mode, MudError, parse_mud
from mud.document.json_reader import read_json
from mud.limits import MAX_NESTING, MAX_NODES


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "an object is expected"),
        (b'"x"', "an object is expected"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\xff"}', "octet 7 is not UTF-8"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "'a' is there twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
        (b'{"a": [["\\ud800x"]]}', "half a surrogate pair"),
        (b'{"a": "x\ny"}', "not JSON"),
        (nested(MAX_NESTING + 1), f"nested more than {MAX_NESTING}"),
        (b"[" * 100_000, f"nested more than {MAX_NESTING}"),
        (b'{"a":' * 50_000, f"nested more than {MAX_NESTING}"),
        # A string that does not end: no bracket in it is read.
        (b'{"a": "' + b"[" * 100, "not JSON"),
        (b'{"a": "' + b"[" * 100 + b"\\", "not JSON"),
        (b'{"a": [' + b"1," * MAX_NODES + b"1]}", f"more than {MAX_NODES} values"),
        (b" " * (MAX_FILE_OCTETS + 1), f"at most {MAX_FILE_OCTETS}"),
    ],
)
def test_refused(octets: bytes, problem: str) -> None:
    with pytest.raises(MudError, match=problem):
        read_json(octets)
    with pytest.raises(MudError):
        parse_mud(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b'{"a": "' + b'\\"' * 250_000,
        b'"' * 500_000,
        b"\\" * 500_000,
        b'{"a' + b'": 1, "a'.join(str(number).encode() for number in range(19_000)) + b'": 1, "a18998": 2}',
        b'{"ietf-mud:mud": {"extensions": ["'
        + b'", "'.join(str(number).encode() for number in range(28_000))
        + b'"], "'
        + b'": 1, "'.join(b"v:%d" % number for number in range(15_000))
        + b'": 1}}',
    ],
)
def test_files_that_are_made_to_take_long(octets: bytes) -> None:
    """Each took minutes with a straightforward reader. Here, one that takes seconds is a defect."""
    assert len(octets) <= MAX_FILE_OCTETS
    before = time.process_time()
    for mode in Mode:
        with pytest.raises(MudError):
            parse_mud(octets, mode)
    assert time.process_time() - before < 30


@pytest.mark.parametrize(
    "octets",
    [
        b"{}",
        nested(MAX_NESTING),
        b'{"a": "\\ud83d\\ude00"}',
        '{"a": "\N{GRINNING FACE}"}'.encode(),
        b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[\\"[[[[[[[[[[\\\\"}',
        b" " * (MAX_FILE_OCTETS - 2) + b"{}",
        b'{"a": [' + b"1," * (MAX_NODES - 10) + b"1]}",
    ],
)
def test_read_as_the_standard_library_does(octets: bytes) -> None:
    assert read_json(octets) == json.loads(octets)
