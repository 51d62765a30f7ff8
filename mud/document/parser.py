"""Read a MUD file: limits, then JSON, then the models, one access control entry at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from mud.document import leniency
from mud.document.extension_members import Path, declared_modules, in_words, take_out
from mud.document.json_reader import read_json
from mud.document.leniency import ACLS, MUD
from mud.document.matches import Matches
from mud.document.model import AceModel, AclModel, AclType, Entry, EntryList, Mode, MudContainer, MudFile
from mud.findings import Code, Findings, MudError, found, printable
from mud.limits import MAX_ACES, MAX_ACLS, MAX_NAMES

# Headers whose presence depends on the type of the ACL.
_TYPED_HEADERS = ("ipv4", "ipv6", "eth")


class _Reading(NamedTuple):
    """One file while it is read."""

    mode: Mode
    findings: Findings
    problems: list[str]

    def deviation(self, code: Code, place: str, text: str) -> None:
        """Something that RFC 8520 forbids, and that has a meaning all the same."""
        if self.mode is Mode.STRICT:
            self.problems.append(f"{place}: {text}")
        else:
            self.findings.add(code, place, text)


def parse_mud(octets: bytes, mode: Mode = Mode.STRICT) -> MudFile:
    """The MUD file (RFC 8520) in `octets`. Raises MudError.

    In lenient mode, an entry that is invalid does not make the file invalid: it is kept as not understood.
    """
    data = read_json(octets)
    reading = _Reading(mode, Findings(), [])
    taken = _take_out_extensions(data, reading)
    if mode is Mode.LENIENT:
        leniency.adapt(data, reading.findings)
    reading.problems.extend(f"{name}: unknown member" for name in data if name not in (MUD, ACLS))
    container = _container(data, reading)
    acls = _acls(data, taken, reading)
    if container is None or reading.problems:
        raise MudError(reading.problems)
    _check_references(container, acls, reading)
    if reading.problems:
        raise MudError(reading.problems)
    _check_names(acls)
    return MudFile(container, acls, mode, reading.findings.all())


# What of other modules stands in an entry, by the positions of its ACL and of the entry.
_Taken = Mapping[tuple[int, int], tuple[str, ...]]


def _take_out_extensions(data: dict[str, Any], reading: _Reading) -> _Taken:
    """Remove members of other modules where nothing depends on them, and note the entries that have some."""
    container = data.get(MUD)
    modules = declared_modules(container.get("extensions") if isinstance(container, dict) else None)
    taken: dict[tuple[int, int], tuple[str, ...]] = {}
    for path, declared in take_out(data, modules, only_declared=reading.mode is Mode.STRICT):
        place, entry = in_words(path), _entry_of(path)
        if entry is not None:
            taken[entry] = (*taken.get(entry, ()), f"{in_words(path[6:])} is not understood")
        elif len(path) > 2 or (len(path) == 2 and path[0] != MUD):
            # It may limit an ACL or a policy.
            reading.problems.append(f"{place}: an extension, which is not understood here")
        said = (
            "of an extension that the file declares" if declared else "of an extension that the file does not declare"
        )
        reading.findings.add(Code.EXTENSION, place, f"{said}; not understood, left out")
    return taken


def _entry_of(path: Path) -> tuple[int, int] | None:
    match path:
        case (str(), "acl", int(acl), "aces", "ace", int(entry), _, *_):
            return acl, entry
    return None


def _container(data: dict[str, Any], reading: _Reading) -> MudContainer | None:
    if MUD not in data:
        reading.problems.append(f"{MUD}: nothing found, this member is expected")
        return None
    try:
        return MudContainer.model_validate(data[MUD])
    except ValidationError as error:
        reading.problems.extend(_problems(error, MUD))
        return None


def _acls(data: dict[str, Any], taken: _Taken, reading: _Reading) -> tuple[EntryList, ...]:
    root = data.get(ACLS, {})
    if not isinstance(root, dict) or not isinstance(root.get("acl", []), list):
        reading.problems.append(f"{ACLS}: {found(root)} found, an object with the list acl is expected")
        return ()
    reading.problems.extend(f"{ACLS}.{name}: unknown member" for name in root if name != "acl")
    raw = root.get("acl", [])
    if len(raw) > MAX_ACLS:
        raise MudError([f"{ACLS}.acl: {len(raw)} ACLs, at most {MAX_ACLS} are expected"])
    acls = [_acl(item, position, taken, reading) for position, item in enumerate(raw)]
    made = [acl for acl in acls if acl is not None]
    names = [acl.name for acl in made]
    for name in sorted({name for name in names if names.count(name) > 1}):
        # Which one a policy means is not decidable.
        reading.problems.append(f"{ACLS}.acl: two ACLs of the name {found(name)}; unique names are expected")
    entries = sum(len(acl.entries) for acl in made)
    if entries > MAX_ACES:
        raise MudError([f"{ACLS}: {entries} access control entries, at most {MAX_ACES} are expected"])
    return tuple(made)


def _acl(raw: object, number: int, taken: _Taken, reading: _Reading) -> EntryList | None:
    place = f"{ACLS}.acl[{number}]"
    if isinstance(raw, dict) and reading.mode is Mode.LENIENT:
        leniency.adapt_acl(raw, place, reading.findings)
    try:
        model = AclModel.model_validate(raw)
    except ValidationError as error:
        reading.problems.extend(_problems(error, place))
        return None
    if len(model.aces.ace) > MAX_ACES:
        raise MudError([f"{place}: more than {MAX_ACES} access control entries"])
    entries: list[Entry] = []
    seen: set[str] = set()
    for position, item in enumerate(model.aces.ace):
        entry = _entry(item, model.type, f"{place}.aces.ace[{position}]", taken.get((number, position), ()), reading)
        if entry is None:
            continue
        if entry.name in seen:
            reading.deviation(Code.DUPLICATE, entry.place, f"two entries of the name {found(entry.name)} in one ACL")
        seen.add(entry.name)
        entries.append(entry)
    return EntryList(model.name, model.type, tuple(entries))


def _entry(raw: object, type_: AclType | None, place: str, unknown: tuple[str, ...], reading: _Reading) -> Entry | None:
    if not isinstance(raw, dict):
        reading.problems.append(f"{place}: {found(raw)} found, an object is expected")
        return None
    if reading.mode is Mode.LENIENT:
        leniency.adapt_entry(raw, place, reading.findings)
    try:
        model = AceModel.model_validate(raw)
    except ValidationError as error:
        problems = _problems(error, place)
        if reading.mode is Mode.STRICT:
            reading.problems.extend(problems)
            return None
        return _invalid_entry(raw, place, problems, reading)
    _check_headers(model.matches, type_, place, reading)
    return Entry(model.name, place, model.matches, model.actions.forwarding, unknown)


def _invalid_entry(raw: dict[str, Any], place: str, problems: list[str], reading: _Reading) -> Entry:
    """An entry that the models refuse. Unless it accepts, it counts as a drop of everything."""
    for problem in problems:
        where, _, text = problem.partition(": ")
        reading.findings.add(Code.INVALID_ENTRY, where, text)
    actions = raw.get("actions")
    forwarding = actions.get("forwarding") if isinstance(actions, dict) else None
    accepts = forwarding in ("accept", "ietf-access-control-list:accept")
    action: Literal["accept", "drop"] = "accept" if accepts else "drop"
    name = raw.get("name")
    shown = name if isinstance(name, str) and 0 < len(name) <= 64 and name.isprintable() else "?"
    return Entry(shown, place, Matches(), action, tuple(problems[:4]))


def _check_headers(matches: Matches, type_: AclType | None, place: str, reading: _Reading) -> None:
    """Headers that the type of the ACL does not permit (the `when` statements of RFC 8519)."""
    for name in _TYPED_HEADERS:
        if getattr(matches, name) is not None and (type_ is None or name not in type_.split("-")):
            text = f"{name} in an ACL of type {type_ or '(none)'}"
            reading.deviation(Code.MISPLACED, f"{place}.matches.{name}", text)


def _check_references(container: MudContainer, acls: tuple[EntryList, ...], reading: _Reading) -> None:
    names = {acl.name for acl in acls}
    used = set()
    for member, policy in (
        ("from-device-policy", container.from_device_policy),
        ("to-device-policy", container.to_device_policy),
    ):
        for name in policy.names:
            used.add(name)
            if name not in names:
                text = f"{found(name)} found, the name of an ACL is expected"
                reading.deviation(Code.MISSING_ACL, f"{MUD}.{member}", text)
    for name in sorted(names - used):
        reading.findings.add(Code.UNUSED_ACL, ACLS, f"no policy uses the ACL {found(name)}")


def _check_names(acls: tuple[EntryList, ...]) -> None:
    names: set[str] = set()
    for acl in acls:
        for entry in acl.entries:
            for header in (entry.matches.ipv4, entry.matches.ipv6):
                if header is not None:
                    names |= {name for name in (header.src_dnsname, header.dst_dnsname) if name}
    if len(names) > MAX_NAMES:
        raise MudError([f"{ACLS}: {len(names)} DNS names, at most {MAX_NAMES} are expected"])


def _problems(error: ValidationError, place: str) -> list[str]:
    return [printable(_problem(item, place)) for item in error.errors(include_url=False)]


def _problem(item: Any, place: str) -> str:
    where = place
    for part in item["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{where}: nothing found, this member is expected"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown member"
    if isinstance(item["input"], dict):
        return f"{where}: {message}"
    return f"{where}: {found(item['input'])} found; {message[:1].lower() + message[1:]}"
