"""Reading the anchor directory: a journal that grows, is replaced, is incomplete, or is wrong."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.anchor_record import (
    INDEX_FORMAT,
    AnchorError,
    AnchorRecord,
    AnchorSource,
    parse_index_line,
    pem_to_der,
)
from dane_radius.local.anchor_directory import CA_FOLDER, INDEX_FILE, AnchorDirectory
from tests.harness.pki import Authority, authority

NAME, DOMAIN = "a1.camera._device.example.net", "_device.example.net"
ONE, TWO = authority("One"), authority("Two")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(ca: Authority, *domains: str, file: str = "") -> AnchorRecord:
    return AnchorRecord(
        ca.fingerprint,
        file or f"{ca.fingerprint[:8]}.0",
        "CN=x",
        "ab",
        domains or (DOMAIN,),
        AnchorSource.REGISTRY,
        TIME,
        TIME,
    )


def add(ca: Authority, *domains: str, file: str = "") -> str:
    return json.dumps({"op": "add", **record(ca, *domains, file=file).to_json()}) + "\n"


def remove(ca: Authority) -> str:
    return json.dumps({"op": "remove", "fingerprint": ca.fingerprint}) + "\n"


HEADER = json.dumps({"format": INDEX_FORMAT, "version": 1}) + "\n"


class Folder:
    """An anchor directory that the test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = path / INDEX_FILE
        (path / CA_FOLDER).mkdir()
        self.save(ONE)
        self.save(TWO)

    def save(self, ca: Authority, file: str = "", pem: bytes | None = None) -> None:
        (self.path / CA_FOLDER / (file or f"{ca.fingerprint[:8]}.0")).write_bytes(ca.pem if pem is None else pem)

    def append(self, *lines: str) -> None:
        with self.index.open("a") as file:
            file.write("".join(lines))

    def replace(self, *lines: str) -> None:
        fresh = self.path / "fresh"
        fresh.write_text("".join(lines))
        os.replace(fresh, self.index)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def held(directory: AnchorDirectory, name: str = NAME) -> set[bytes]:
    return {anchor.der for anchor in directory.for_name(name)}


def test_each_refresh_applies_the_new_lines(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    assert directory.refresh() is False
    assert directory.last_error is None
    folder.append(HEADER, add(ONE))
    assert directory.refresh() is True
    assert directory.refresh() is False
    assert held(directory) == {ONE.der}
    folder.append(add(TWO))
    assert directory.refresh() is True
    assert held(directory) == {ONE.der, TWO.der}
    folder.append(remove(ONE))
    assert directory.refresh() is True
    assert held(directory) == {TWO.der}
    assert len(directory) == 1
    folder.index.unlink()
    assert directory.refresh() is True
    assert held(directory) == set()


def test_an_incomplete_last_line_is_ignored(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    line = add(TWO)
    folder.append(HEADER, add(ONE), line[:40])
    directory.refresh()
    assert (held(directory), directory.last_error) == ({ONE.der}, None)
    folder.append(line[40:-1])
    directory.refresh()
    assert held(directory) == {ONE.der}
    folder.append("\n")
    directory.refresh()
    assert held(directory) == {ONE.der, TWO.der}


def test_every_truncation_of_the_journal_is_an_earlier_state(folder: Folder) -> None:
    lines = [HEADER, add(ONE), add(TWO), remove(ONE)]
    states: list[set[bytes]] = [set(), set(), {ONE.der}, {ONE.der, TWO.der}, {TWO.der}]
    text = "".join(lines)
    for cut in range(0, len(text) + 1, 7):
        folder.replace(text[:cut])
        directory = AnchorDirectory(folder.path)
        directory.refresh()
        assert directory.last_error is None
        assert held(directory) == states[text[:cut].count("\n")]


def test_a_compacted_or_replaced_journal_is_read_from_its_start(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE), add(TWO), remove(ONE))
    directory.refresh()
    folder.replace(HEADER, add(TWO))
    assert directory.refresh() is False
    assert held(directory) == {TWO.der}
    folder.replace(HEADER, add(ONE))
    assert directory.refresh() is True
    assert held(directory) == {ONE.der}


def test_a_longer_file_in_the_same_inode_is_another_journal(folder: Folder) -> None:
    """A file system assigns an inode number again, so an equal number does not show that it is the same journal."""
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE))
    directory.refresh()
    inode = folder.index.stat().st_ino
    folder.index.write_text(HEADER + add(TWO) + add(TWO) + add(TWO, "_other.example.net"))
    os.utime(folder.index, ns=(1, 1))
    assert folder.index.stat().st_ino == inode
    directory.refresh()
    assert held(directory) == set()
    assert held(directory, "a._other.example.net") == {TWO.der}


@pytest.mark.parametrize(
    "line",
    ["not json\n", "[]\n", '"text"\n', "{}\n", '{"op": "remove"}\n', '{"op": "remove", "fingerprint": 5}\n',
     '{"op": "drop"}\n', '{"format": "other", "version": 1}\n', '{"format": "dane-radius-anchors", "version": 2}\n',
     '{"op": "add"}\n', "[" * 100_000 + "\n", "\xff\n"],
)  # fmt: skip
def test_an_invalid_index_puts_no_anchor_in_force(folder: Folder, line: str) -> None:
    """The invalid line may be a removal."""
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE))
    directory.refresh()
    assert held(directory) == {ONE.der}
    folder.append(line, add(TWO))
    assert directory.refresh() is True
    assert directory.last_error
    assert held(directory) == set()
    # A valid index puts its anchors in force again.
    folder.replace(HEADER, add(TWO))
    assert directory.refresh() is True
    assert (held(directory), directory.last_error) == ({TWO.der}, None)


def test_an_index_that_cannot_be_opened_puts_no_anchor_in_force(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE))
    directory.refresh()
    folder.index.unlink()
    folder.index.mkdir()
    assert directory.refresh() is True
    assert directory.last_error
    assert held(directory) == set()


GOOD: dict[str, Any] = record(ONE).to_json()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fingerprint", "ab"),
        ("fingerprint", "G" * 64),
        ("fingerprint", ONE.fingerprint.upper()),
        ("fingerprint", 5),
        ("fingerprint", None),
        ("file", ""),
        ("file", "../../etc/passwd"),
        ("file", ".hidden"),
        ("file", 7),
        ("domains", []),
        ("domains", "example.net"),
        ("domains", {"example.net": 1}),
        ("domains", [""]),
        ("domains", [5]),
        ("domains", ["net"]),
        ("domains", ["."]),
        ("domains", ["Example.net"]),
        ("domains", ["example.net."]),
        ("domains", ["*.example.net"]),
        ("domains", ["example.net", "a b"]),
        ("domains", ["\ud800.example"]),
        ("domains", None),
        ("source", "somewhere"),
        ("source", 1),
        ("fetched", "yesterday"),
        ("fetched", 5),
        ("fetched", "2026-01-02T03:04:05"),
        ("not_after", "2026-13-01T00:00:00+00:00"),
        ("not_after", None),
    ],
)
def test_invalid_records_are_refused(key: str, value: Any) -> None:
    assert AnchorRecord.from_json(GOOD) == record(ONE)
    with pytest.raises(AnchorError):
        AnchorRecord.from_json({**GOOD, key: value})


@pytest.mark.parametrize("key", sorted(GOOD))
def test_every_key_is_required(key: str) -> None:
    with pytest.raises(AnchorError, match=key):
        AnchorRecord.from_json({k: v for k, v in GOOD.items() if k != key})


KEYS = st.sampled_from(["op", "format", "version", *GOOD])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["add", "remove", *GOOD]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_line_or_an_anchor_error(value: Any) -> None:
    records: dict[str, AnchorRecord] = {}
    try:
        parse_index_line(json.dumps(value).encode(), records)
    except AnchorError:
        assert records == {}


@given(st.binary(max_size=80))
def test_any_octets_are_a_line_or_an_anchor_error(line: bytes) -> None:
    try:
        parse_index_line(line, {})
    except AnchorError:
        return
    assert isinstance(json.loads(line), dict)


def test_an_anchor_vouches_for_its_domain_only(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE), add(TWO, "example.org", "a.example.net"))
    directory.refresh()
    assert held(directory, "x._device.example.net") == {ONE.der}
    assert held(directory, "x._sensor.example.net") == set()
    assert held(directory, "x._device.example.net.evil.example") == set()
    assert held(directory, "x.example.org") == {TWO.der}
    assert held(directory, "x._device.b.example.org") == {TWO.der}
    assert held(directory, "_mqtt.a.example.net") == {TWO.der}
    assert held(directory, "x.example.net") == set()


def test_a_certificate_must_have_the_fingerprint_in_the_index(folder: Folder) -> None:
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE))
    folder.save(ONE, pem=TWO.pem)
    directory.refresh()
    assert held(directory) == set()
    assert "not the certificate" in (directory.last_error or "")
    folder.save(ONE)
    assert held(directory) == {ONE.der}


@pytest.mark.parametrize(
    "pem", [b"", ONE.pem + TWO.pem, b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"]
)
def test_a_file_must_contain_exactly_one_certificate(folder: Folder, pem: bytes) -> None:
    with pytest.raises(AnchorError):
        pem_to_der(pem)
    directory = AnchorDirectory(folder.path)
    folder.append(HEADER, add(ONE), add(TWO))
    folder.save(ONE, pem=pem)
    directory.refresh()
    # An invalid file does not affect the other anchors.
    assert held(directory) == {TWO.der}
    assert directory.last_error


def test_text_around_a_pem_certificate_is_ignored() -> None:
    assert pem_to_der(ONE.pem) == ONE.der
    assert pem_to_der(b"subject=CN = One\n" + ONE.pem.replace(b"\n", b"\r\n") + b"trailing text\n") == ONE.der
