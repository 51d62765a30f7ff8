"""FreeRADIUS's dictionaries: what is in them, and which values of an attribute FreeRADIUS would send."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.analysis.attribute_values import TYPES, type_of
from policy.analysis.dictionary import Dictionary, DictionaryError, read_dictionary

MAIN = """\
# a comment
$INCLUDE dictionary.rfc
$INCLUDE- dictionary.absent
$INCLUDE vendors/dictionary.acme
VENDOR\tWide\t9\tformat=2,2
BEGIN-VENDOR Wide
ATTRIBUTE\tWide-Text\t1\tstring
END-VENDOR Wide
ATTRIBUTE\tAcme-Old-Form\t7\tinteger\tAcme
VALUE\tLate-Value\tEarly\t1
ATTRIBUTE\tLate-Value\t60\tinteger
"""
RFC = """\
ATTRIBUTE\tFilter-Id\t11\tstring
ATTRIBUTE\tService-Type\t6\tinteger
VALUE\tService-Type\tFramed-User\t2
VALUE\tService-Type\tLogin-User\t0x01
ATTRIBUTE\tTunnel-Type\t64\tinteger\thas_tag
VALUE\tTunnel-Type\tVLAN\t13
ATTRIBUTE\tTunnel-Name\t81\tstring\thas_tag
ATTRIBUTE\tVendor-Specific\t26\tvsa
ATTRIBUTE\tExtended-1\t241\textended
ATTRIBUTE\tInner\t241.1\tipaddr
ATTRIBUTE\tExtended-5\t245\tlong-extended
ATTRIBUTE\tLong-Inner\t245.1\tstring
ATTRIBUTE\tAuth-Type\t1000\tinteger
VALUE\tAuth-Type\tAccept\t254
ATTRIBUTE\tCalculated\t50\tstring\tvirtual
"""
ACME = """\
VENDOR Acme 4711
BEGIN-VENDOR Acme
ATTRIBUTE\tAcme-Role\t1\tstring
ATTRIBUTE\tAcme-Rate\t2\tinteger
ATTRIBUTE\tAcme-Key\t3\toctets[4]
ATTRIBUTE\tAcme-Group\t4\ttlv
BEGIN-TLV Acme-Group
ATTRIBUTE\tAcme-Member\t1\tbyte
END-TLV Acme-Group
END-VENDOR Acme
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vendors").mkdir()
    (tmp_path / "dictionary").write_text(MAIN)
    (tmp_path / "dictionary.rfc").write_text(RFC)
    (tmp_path / "vendors" / "dictionary.acme").write_text(ACME)
    return tmp_path


@pytest.fixture
def dictionary(folder: Path) -> Dictionary:
    return read_dictionary(folder / "dictionary")


def test_includes_are_followed_from_the_file_that_names_them(dictionary: Dictionary) -> None:
    found = dictionary.find("acme-ROLE")
    assert found is not None
    assert (found.name, found.vendor, found.number) == ("Acme-Role", "Acme", (1,))
    assert dictionary.find("Wide-Text") is not None
    assert dictionary.find("nothing") is None


def test_an_include_that_may_be_absent_may_be_present(folder: Path) -> None:
    (folder / "dictionary.absent").write_text("ATTRIBUTE Extra 70 string\n")
    assert read_dictionary(folder / "dictionary").find("Extra") is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Filter-Id", "anything at all"),
        ("filter-id", "x" * 253),
        ("Service-Type", "Framed-User"),
        ("Service-Type", "framed-user"),
        ("Service-Type", "77"),
        ("Service-Type", "0x4d"),
        ("Late-Value", "Early"),
        ("Tunnel-Type", "VLAN"),
        ("Tunnel-Type:0", "VLAN"),
        ("Tunnel-Type:31", "13"),
        ("Tunnel-Name:1", "x" * 252),
        ("Acme-Rate", "4294967295"),
        ("Acme-Key", "0x01020304"),
        ("Acme-Member", "255"),
        ("Acme-Old-Form", "1"),
        ("Acme-Role", "x" * 247),
        ("Wide-Text", "x" * 245),
        ("Inner", "192.0.2.1"),
        ("Long-Inner", "x" * 251),
    ],
)
def test_what_freeradius_sends(dictionary: Dictionary, name: str, value: str) -> None:
    assert dictionary.problem(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("Filter-Id", "x" * 254, "at most 253"),
        ("Filter-Id", "cut\0here", "NUL"),
        ("Filter-Id:1", "x", "no tag"),
        ("Filter-Idd", "x", "in no dictionary"),
        ("Service-Type", "Framed", "no value"),
        ("Service-Type", "4294967296", "no value"),
        ("Service-Type", "-1", "no value"),
        ("Service-Type", "010", "no value"),
        ("Service-Type", "", "no value"),
        ("Tunnel-Type:32", "VLAN", "no tag"),
        ("Tunnel-Name", "x" * 253, "at most 252"),
        ("Acme-Key", "0x0102", "no value"),
        ("Acme-Key", "01020304", "no value"),
        ("Acme-Member", "256", "no value"),
        ("Acme-Group", "1", "container"),
        ("Vendor-Specific", "x", "container"),
        ("Acme-Role", "x" * 248, "at most 247"),
        ("Acme-Role", "ä" * 124, "248 octets"),
        ("Wide-Text", "x" * 246, "at most 245"),
        ("Inner", "192.0.2", "no value"),
        ("Auth-Type", "Accept", "internal"),
        ("Calculated", "x", "internal"),
    ],
)
def test_what_freeradius_drops(dictionary: Dictionary, name: str, value: str, part: str) -> None:
    problem = dictionary.problem(name, value)
    assert problem is not None
    assert part in problem.text
    assert problem.fix


def test_a_misspelled_name_gets_the_near_ones(dictionary: Dictionary) -> None:
    problem = dictionary.problem("Acme-Rola", "x")
    assert problem is not None
    assert "Acme-Role" in problem.fix


def test_a_misspelled_value_gets_the_near_ones(dictionary: Dictionary) -> None:
    problem = dictionary.problem("Service-Type", "Framed-Usr")
    assert problem is not None
    assert "Framed-User" in problem.fix


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("short", "65535", "65536"),
        ("integer64", "18446744073709551615", "18446744073709551616"),
        ("signed", "-2147483648", "-2147483649"),
        ("date", "1796083200", "tomorrow"),
        ("ipv6addr", "2001:db8::1", "192.0.2.1"),
        ("combo-ip", "2001:db8::1", "example.net"),
        ("ipv4prefix", "192.0.2.0/24", "192.0.2.0"),
        ("ipv6prefix", "2001:db8::/32", "2001:db8::1/32"),
        ("ifid", "1:2:3:4", "1:2:3"),
        ("ether", "02:00:00:00:00:01", "02-00-00-00-00-01"),
        ("octets", "0x0a", "0xa"),
        ("octets[2]", "0x0102", "0x010203"),
        ("string", "anything", None),
    ],
)
def test_types(kind: str, good: str, bad: str | None) -> None:
    assert type_of(kind).wrong(good) is None
    assert bad is None or type_of(kind).wrong(bad) is not None


def test_the_size_in_a_packet(dictionary: Dictionary) -> None:
    # Type and length; a vendor's has eight octets in front (RFC 2865 section 5.26).
    assert dictionary.octets("Filter-Id", "abc") == 2 + 3
    assert dictionary.octets("Acme-Role", "abc") == 8 + 3
    assert dictionary.octets("Acme-Rate", "2000000") == 8 + 4
    assert dictionary.octets("Wide-Text", "abc") == 6 + 4 + 3
    assert dictionary.octets("Acme-Key", "0x01020304") == 8 + 4
    assert dictionary.octets("Acme-Member", "1") == 8 + 2 + 1
    assert dictionary.octets("Inner", "192.0.2.1") == 3 + 4
    assert dictionary.octets("Long-Inner", "abc") == 4 + 3
    assert dictionary.octets("Unknown", "abc") == 8 + 3
    assert dictionary.octets("Tunnel-Type:0", "VLAN") == 2 + 4


def test_a_vendor_of_another_protocol_is_not_sent(folder: Path) -> None:
    with (folder / "dictionary").open("a") as file:
        file.write("VENDOR DHCP 54\nBEGIN-VENDOR DHCP\nATTRIBUTE DHCP-Opcode 256 byte\nEND-VENDOR DHCP\n")
    problem = read_dictionary(folder / "dictionary").problem("DHCP-Opcode", "1")
    assert problem is not None
    assert "internal" in problem.text


def test_a_local_dictionary_adds_and_replaces(folder: Path) -> None:
    local = folder / "local"
    local.write_text("ATTRIBUTE My-Attribute 250 string\nATTRIBUTE Filter-Id 11 integer\n")
    found = read_dictionary(folder / "dictionary", local)
    assert found.problem("My-Attribute", "x") is None
    assert found.problem("Filter-Id", "x") is not None


@pytest.mark.parametrize(
    "line",
    [
        "ATTRIBUTE Name",
        "ATTRIBUTE Name one string",
        "ATTRIBUTE Name 1 unheard-of",
        "ATTRIBUTE Name 1 octets[many]",
        "VALUE Name Text many",
        "VALUE Name",
        "BEGIN-TLV Nothing",
        "END-TLV Nothing",
        "$INCLUDE",
        "SOMETHING else",
    ],
)
def test_a_line_that_is_none_is_named(folder: Path, line: str) -> None:
    (folder / "dictionary").write_text(f"# first\n{line}\n")
    with pytest.raises(DictionaryError, match="line 2"):
        read_dictionary(folder / "dictionary")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "dictionary").write_text("$INCLUDE dictionary.gone\n")
    with pytest.raises(DictionaryError, match=r"dictionary\.gone: cannot be read"):
        read_dictionary(folder / "dictionary")


def test_files_that_include_each_other_are_an_error(folder: Path) -> None:
    (folder / "dictionary").write_text("$INCLUDE dictionary\n")
    with pytest.raises(DictionaryError, match="nests deeper"):
        read_dictionary(folder / "dictionary")


def test_every_type_says_what_it_expects() -> None:
    assert all(kind.expects for kind in TYPES.values())
