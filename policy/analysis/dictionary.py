"""FreeRADIUS's dictionaries: which attributes exist, and whether FreeRADIUS 3.2 would send a value that policy names.

FreeRADIUS logs and drops an attribute of a Python module that it cannot encode, and sends the rest of the reply. A
device would then have other access than the policy says, so `dane-radius policy check` compares the two beforehand.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from policy.analysis.attribute_values import TYPES, AttributeType, type_of

DEFAULT_DICTIONARY = "/usr/share/freeradius/dictionary"
# The dictionary that operators edit; FreeRADIUS reads it after its own.
LOCAL_DICTIONARIES = ("/etc/freeradius/3.0/dictionary", "/etc/raddb/dictionary")

_MAX_DEPTH = 10
_MAX_FILES = 2_000
_MAX_FILE_OCTETS = 4 * 1024 * 1024
# Vendors of dictionaries for other protocols than RADIUS, which share FreeRADIUS's attribute space.
_OTHER_PROTOCOLS = frozenset({"DHCP", "VMPS"})
_TAG = re.compile(r"(?P<name>.+):(?P<tag>[0-9]{1,2})\Z")
_MAX_TAG = 31
# Octets before the value in a packet, and the longest value (RFC 2865 sections 5 and 5.26, RFC 6929 sections 2 and 3).
_PLAIN_HEADER = 2
_VENDOR_HEADER = 6
_EXTENDED_HEADER = 3
_LONG_EXTENDED_HEADER = 4
_MAX_ATTRIBUTE_OCTETS = 255


class DictionaryError(ValueError):
    """A dictionary cannot be read, or is none. The text names file and line."""


@dataclass(frozen=True, slots=True)
class DictionaryAttribute:
    """One attribute. `number` is its path in the packet: several numbers for a member of a TLV.

    `header`: the octets that the packet needs besides the value. `sent`: whether it can be in a RADIUS packet at all.
    """

    name: str
    number: tuple[int, ...]
    type: AttributeType
    vendor: str | None
    flags: frozenset[str]
    header: int
    sent: bool
    values: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def max_value_octets(self) -> int:
        tag = 1 if "has_tag" in self.flags and self.type.name == "string" else 0
        return _MAX_ATTRIBUTE_OCTETS - self.header - tag


@dataclass(frozen=True, slots=True)
class Problem:
    """Why FreeRADIUS would not send an attribute as policy names it. `fix` says what to do."""

    text: str
    fix: str


class Dictionary:
    """The attributes by name. FreeRADIUS compares names without regard to letter case."""

    def __init__(self) -> None:
        self._attributes: dict[str, DictionaryAttribute] = {}
        self._vendors: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._attributes)

    def find(self, name: str) -> DictionaryAttribute | None:
        """The attribute of this name, without a tag; None if there is none."""
        return self._attributes.get(name.lower())

    def add(self, attribute: DictionaryAttribute) -> None:
        self._attributes[attribute.name.lower()] = attribute

    def problem(self, name: str, value: str) -> Problem | None:
        """Why FreeRADIUS would not send `name` with this value; None if it would."""
        tagged = _TAG.match(name)
        attribute = self.find(tagged["name"] if tagged else name)
        if attribute is None:
            return self._unknown(tagged["name"] if tagged else name)
        if tagged and ("has_tag" not in attribute.flags or int(tagged["tag"]) > _MAX_TAG):
            return Problem(f"{attribute.name} has no tag {tagged['tag']}", f"write {attribute.name} without a tag")
        if not attribute.sent:
            return Problem(
                f"{attribute.name} is internal to FreeRADIUS and never in a packet",
                "name an attribute that the NAS receives",
            )
        return _value_problem(attribute, value)

    def octets(self, name: str, value: str) -> int:
        """The octets of a packet that an attribute needs. An unknown attribute counts as one of a vendor."""
        tagged = _TAG.match(name)
        attribute = self.find(tagged["name"] if tagged else name)
        if attribute is None:
            return 2 + _VENDOR_HEADER + len(value.encode())
        return attribute.header + attribute.type.octets(value)

    def _unknown(self, name: str) -> Problem:
        near = difflib.get_close_matches(name.lower(), self._attributes, n=3, cutoff=0.75)
        fix = "correct the name, or add the attribute to FreeRADIUS's local dictionary"
        if near:
            fix = f"write {' or '.join(self._attributes[key].name for key in near)}, or add the attribute to FreeRADIUS"
        return Problem(f"{name!r} is in no dictionary of FreeRADIUS", fix)


def _value_problem(attribute: DictionaryAttribute, value: str) -> Problem | None:
    kind = attribute.type
    if not kind.settable:
        return Problem(f"{attribute.name} is a container of type {kind.name}", "name the attributes in it")
    if "\0" in value:
        return Problem(f"the value of {attribute.name} has a NUL octet, after which FreeRADIUS cuts it", "remove it")
    if kind.enumerated and value.lower() in {name.lower() for name in attribute.values}:
        return None
    wrong = kind.wrong(value)
    if wrong is None:
        longest = attribute.max_value_octets
        if kind.octets(value) > longest:
            return Problem(
                f"the value of {attribute.name} has {kind.octets(value)} octets, at most {longest} fit", "shorten it"
            )
        return None
    fix = f"write {wrong}"
    if attribute.values:
        known = sorted(attribute.values, key=lambda name: attribute.values[name])
        near = difflib.get_close_matches(value, known, n=2, cutoff=0.6) or known[:4]
        fix += f", or a name such as {', '.join(near)}"
    return Problem(f"{value!r} is no value of {attribute.name}, which has the type {kind.name}", fix)


def read_dictionary(path: str | Path = DEFAULT_DICTIONARY, *local: str | Path) -> Dictionary:
    """FreeRADIUS's dictionaries from their first file, and then from `local` ones. Raises DictionaryError."""
    reader = _Reader()
    for file in (path, *local):
        reader.read(Path(file), 0)
    return reader.finish()


class _Reader:
    """Reads one file after the other, in the order of the `$INCLUDE` lines."""

    def __init__(self) -> None:
        self.dictionary = Dictionary()
        self._headers: dict[str, int] = {}
        self._vendor: str | None = None
        self._extended: str | None = None
        self._groups: list[DictionaryAttribute] = []
        self._files = 0
        # By attribute, since FreeRADIUS too lets VALUE lines precede their ATTRIBUTE.
        self._values: dict[str, dict[str, int]] = {}

    def read(self, path: Path, depth: int) -> None:
        self._files += 1
        if depth > _MAX_DEPTH or self._files > _MAX_FILES:
            raise DictionaryError(f"{path}: $INCLUDE nests deeper than {_MAX_DEPTH}, or more than {_MAX_FILES} files")
        try:
            with open(path, "rb") as file:
                octets = file.read(_MAX_FILE_OCTETS + 1)
        except OSError as error:
            raise DictionaryError(f"{path}: cannot be read: {error.strerror}") from error
        if len(octets) > _MAX_FILE_OCTETS:
            raise DictionaryError(f"{path}: more than {_MAX_FILE_OCTETS} octets")
        for number, line in enumerate(octets.decode("utf-8", "replace").splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                self._line(words, path, depth)
            except (IndexError, KeyError, ValueError) as error:
                if isinstance(error, DictionaryError):
                    raise
                raise DictionaryError(f"{path}, line {number}: {line.strip()[:80]!r} is no dictionary entry") from error

    def _line(self, words: list[str], path: Path, depth: int) -> None:
        match words[0].upper():
            case "$INCLUDE":
                self.read(path.parent / words[1], depth + 1)
            case "$INCLUDE-":
                if (path.parent / words[1]).is_file():
                    self.read(path.parent / words[1], depth + 1)
            case "VENDOR":
                self._headers[words[1].lower()] = _vendor_header(words[3:])
            case "BEGIN-VENDOR":
                self._headers.setdefault(words[1].lower(), _VENDOR_HEADER + 2)
                self._vendor, self._extended = words[1], words[2] if len(words) > 2 else None
            case "END-VENDOR":
                self._vendor = self._extended = None
            case "BEGIN-TLV":
                self._groups.append(self._known(words[1]))
            case "END-TLV":
                self._groups.pop()
            case "ATTRIBUTE":
                self._attribute(words[1:])
            case "VALUE":
                self._values.setdefault(words[1].lower(), {})[words[2]] = int(words[3], 0)
            case _:
                raise ValueError(words[0])

    def _known(self, name: str) -> DictionaryAttribute:
        found = self.dictionary.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def _attribute(self, words: list[str]) -> None:
        name, oid, kind, *rest = words
        number = tuple(int(part, 0) for part in oid.split("."))
        flags = frozenset(flag for word in rest for flag in word.lower().split(","))
        vendor = self._vendor
        if rest and rest[0].lower() in self._headers:
            # The old form names the vendor in the line.
            vendor = rest[0]
        sent = "virtual" not in flags and vendor not in _OTHER_PROTOCOLS
        if vendor is None and not self._groups:
            sent = sent and number[0] <= 255
        header = self._header(number, vendor)
        self.dictionary.add(DictionaryAttribute(name, number, type_of(kind), vendor, flags, header, sent))

    def _header(self, number: tuple[int, ...], vendor: str | None) -> int:
        if self._groups:
            return self._groups[-1].header + 2
        if self._extended is not None:
            return _EXTENDED_HEADER + 5
        if vendor is not None:
            return self._headers[vendor.lower()] + 2 * (len(number) - 1)
        if len(number) == 1:
            return _PLAIN_HEADER
        outer = next((a for a in self.dictionary._attributes.values() if a.number == number[:1] and not a.vendor), None)
        first = _LONG_EXTENDED_HEADER if outer and outer.type.name == "long-extended" else _EXTENDED_HEADER
        return first + 2 * (len(number) - 2)

    def finish(self) -> Dictionary:
        for name, values in self._values.items():
            attribute = self.dictionary.find(name)
            if attribute is not None:
                attribute.values.update(values)
        return self.dictionary


def _vendor_header(options: list[str]) -> int:
    """The octets before a value of this vendor, by its `format=TYPE,LENGTH[,c]` (octets of each field)."""
    for option in options:
        if option.startswith("format="):
            sizes = option.removeprefix("format=").split(",")
            if sizes[0].isdigit():
                continuation = 1 if "c" in sizes[2:] else 0
                return _VENDOR_HEADER + int(sizes[0]) + int(sizes[1]) + continuation
    return _VENDOR_HEADER + 2


__all__ = [
    "DEFAULT_DICTIONARY",
    "LOCAL_DICTIONARIES",
    "TYPES",
    "Dictionary",
    "DictionaryAttribute",
    "DictionaryError",
    "Problem",
    "read_dictionary",
]
