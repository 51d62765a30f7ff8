"""Rewrite a policy file of version 1 in version 2, with its comments and its order.

Only what changes is replaced in the text: `grant` moves to a zone, `deny` becomes `refuse`, and the devices of
`quarantine` get rules of their own in front of those that admit them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from policy.analysis.null_values import without_nulls
from policy.analysis.patterns import TooManyForms, covers, intersection
from policy.analysis.source_text import (
    Edit,
    Entry,
    apply_edits,
    comments_in,
    end_of,
    end_of_line,
    entries_of,
    newline_of,
    plain_key,
    start_of_line,
)
from policy.loading.loader import parse_policy

_IN_SESSION = {"session_timeout": "timeout", "idle_timeout": "idle_timeout", "reauthenticate": "reauthenticate"}
# The longest name of a rule or zone.
_MAX_NAME = 63
_SUFFIX = "-quarantined"
_QUARANTINE_NOTE = (
    "The quarantine of version 1. `dane-operations quarantine` moves devices there without a change of this file,",
    "if `standing: {quarantined: {zone: ...}}` names the zone.",
)


class UpgradeError(ValueError):
    """The file cannot be upgraded without a person. The text names the line and says what to do."""


def upgrade(text: str, source: str = "policy", base: Path | None = None) -> str:
    """The same policy in version 2; a policy of version 2 unchanged.

    `base`: the folder of the file, which device lists of version 2 are relative to. Raises PolicyError for text that is
    no valid policy, and UpgradeError.
    """
    policy = parse_policy(text.encode(), source, base)
    if policy.version >= 2:
        return text
    _refuse_anchors(text)
    plain = without_nulls(text)
    root = yaml.compose(plain, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    upgraded = _Upgrade(plain, root).run()
    # Whatever happens above, only a policy that loads is returned.
    parse_policy(upgraded.encode(), f"{source}, upgraded")
    return upgraded


def _refuse_anchors(text: str) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            where = f"line {event.start_mark.line + 1}: " if event.start_mark is not None else ""
            raise UpgradeError(
                f"{where}an anchor or alias found; write its content in each place, and upgrade the file then"
            )


@dataclass
class _Zone:
    """A zone to be: the entries of the grant that it comes from. Zones of equal entries are one."""

    name: str
    entries: list[Entry]
    notes: tuple[str, ...] = ()

    @property
    def comments(self) -> list[str]:
        """The comments of the file in it."""
        found = [text for text in self.notes if text not in _QUARANTINE_NOTE]
        found += [text for entry in self.entries for text in (*entry.comments, entry.beside) if text is not None]
        return list(dict.fromkeys(found))


@dataclass
class _Upgrade:
    text: str
    root: yaml.MappingNode
    zones: list[_Zone] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.newline = newline_of(self.text)
        self.sections = {key.value: (key, value) for key, value in self.root.value}
        rules = self.sections["rules"][1]
        assert isinstance(rules, yaml.SequenceNode)
        self.rules = [node for node in rules.value if isinstance(node, yaml.MappingNode)]
        self.names = {_scalar(node, "name") for node in self.rules}
        self.quarantined: list[str] = []
        self.quarantine_zone: _Zone | None = None

    def run(self) -> str:
        self._replace(self.sections["version"][1], "2")
        self._take_quarantine()
        for rule in self.rules:
            self._rule(rule)
        self._remove_quarantine()
        if self.zones:
            self._write_zones()
        return apply_edits(self.text, self.edits)

    # --- rules

    def _rule(self, rule: yaml.MappingNode) -> None:
        name = _scalar(rule, "name")
        parts = {key.value: (key, value) for key, value in rule.value}
        if "deny" in parts:
            self._replace(parts["deny"][0], "refuse")
        if "grant" not in parts:
            return
        key, grant = parts["grant"]
        assert isinstance(grant, yaml.MappingNode)
        patterns = [node.value.lower().removesuffix(".") for node in parts["identity"][1].value]
        zone = self._zone_for(name, key, grant)
        unused: _Zone | None = None
        if self.quarantined and self.quarantine_zone is not None:
            if all(any(covers(outer, inner) for outer in self.quarantined) for inner in patterns):
                # The rule's own grant has no effect.
                unused, zone = zone, self.quarantine_zone
            else:
                self._insert_quarantine_rule(rule, name, patterns, parts)
        if zone not in self.zones:
            self.zones.append(zone)
        self._replace(key, "zone")
        self._replace_grant(key, grant, plain_key(zone.name), unused.comments if unused is not None else [])

    def _zone_for(self, name: str, key: yaml.Node, grant: yaml.MappingNode) -> _Zone:
        entries = entries_of(self.text, grant, key.end_mark.index + 1)
        if not any(entry.has_comment for entry in entries):
            wanted = [(entry.key, entry.value) for entry in entries]
            for zone in self.zones:
                if [(entry.key, entry.value) for entry in zone.entries] == wanted and not zone.notes:
                    return zone
        within = () if entries else comments_in(self.text[key.end_mark.index + 1 : end_of(grant)])
        return _Zone(self._free(name, {zone.name for zone in self.zones}), entries, tuple(within))

    def _insert_quarantine_rule(
        self, rule: yaml.MappingNode, name: str, patterns: Iterable[str], parts: dict[str, tuple[yaml.Node, yaml.Node]]
    ) -> None:
        assert self.quarantine_zone is not None
        try:
            forms = dict.fromkeys(
                form for inner in patterns for outer in self.quarantined for form in intersection(outer, inner)
            )
        except TooManyForms as error:
            line = rule.start_mark.line + 1
            raise UpgradeError(f"line {line}: {error}; write simpler patterns, and upgrade the file then") from error
        if not forms:
            return
        if self.quarantine_zone not in self.zones:
            self.zones.append(self.quarantine_zone)
        fresh = self._free(name[: _MAX_NAME - len(_SUFFIX)] + _SUFFIX, self.names)
        self.names.add(fresh)
        identity = ", ".join(f'"{form}"' for form in forms)
        keys = [f"name: {plain_key(fresh)}", f"identity: [{identity}]"]
        for kept in ("networks", "require", "pkix_cd", "mode"):
            if kept in parts:
                value = parts[kept][1]
                keys.append(f"{kept}: {_as_flow(value)}")
        keys.append(f"zone: {plain_key(self.quarantine_zone.name)}")
        self._insert_before(rule, keys)

    def _insert_before(self, rule: yaml.MappingNode, keys: list[str]) -> None:
        start = rule.start_mark.index
        if self.sections["rules"][1].flow_style:
            self.edits.append(Edit(start, start, "{" + ", ".join(keys) + "}, "))
            return
        dash = self.text.rindex("-", 0, start)
        at = start_of_line(self.text, dash)
        column = dash - at
        inner = rule.start_mark.column if rule.start_mark.line == self.text.count("\n", 0, dash) else column + 2
        lines = [" " * column + "-" + " " * (inner - column - 1) + keys[0], *(" " * inner + key for key in keys[1:])]
        at = _above_comments(self.text, at)
        self.edits.append(Edit(at, at, self.newline.join(lines) + self.newline))

    # --- quarantine

    def _take_quarantine(self) -> None:
        """Make a zone of the section, for the rules about its devices."""
        if "quarantine" not in self.sections:
            return
        key, section = self.sections["quarantine"]
        if isinstance(section, yaml.MappingNode):
            parts = {inner.value: value for inner, value in section.value}
            self.quarantined = [node.value.lower().removesuffix(".") for node in parts["identity"].value]
            keys = {inner.value: inner for inner, _ in section.value}
            entries = entries_of(self.text, parts["grant"], keys["grant"].end_mark.index + 1)
            of_section = entries_of(self.text, section, key.end_mark.index + 1)
            comments = [text for part in of_section for text in (*part.comments, part.beside) if text is not None]
            listed = parts["identity"]
            within = comments_in(self.text[listed.start_mark.index : end_of(listed)])
            of_grant = parts["grant"]
            if not entries:
                within += comments_in(self.text[of_grant.start_mark.index : end_of(of_grant)])
            name = self._free("quarantine", {_scalar(rule, "name") for rule in self.rules})
            self.quarantine_zone = _Zone(name, entries, (*_QUARANTINE_NOTE, *dict.fromkeys((*comments, *within))))

    def _remove_quarantine(self) -> None:
        """Remove the section. If no rule admits its devices, it had no effect, and only its comments stay."""
        if self.quarantine_zone is None:
            return
        zone = self.quarantine_zone
        kept = ""
        if zone not in self.zones and not self.root.flow_style:
            kept = "".join(f"# {comment}{self.newline}" for comment in zone.comments)
        self._remove(*self.sections["quarantine"], kept)

    def _remove(self, key: yaml.Node, value: yaml.Node, kept: str) -> None:
        end = end_of(value)
        if self.root.flow_style:
            comma = self.text.find(",", end)
            following = [k for k, _ in self.root.value if k.start_mark.index > end]
            if following:
                self.edits.append(Edit(key.start_mark.index, following[0].start_mark.index, ""))
            else:
                start = self.text.rindex(",", 0, key.start_mark.index)
                self.edits.append(Edit(start, end if comma < 0 else comma, ""))
            return
        stop = self.text.find("\n", end)
        self.edits.append(
            Edit(start_of_line(self.text, key.start_mark.index), len(self.text) if stop < 0 else stop + 1, kept)
        )

    # --- zones

    def _write_zones(self) -> None:
        key = self.sections["rules"][0]
        if self.root.flow_style:
            zones = ", ".join(f"{plain_key(zone.name)}: {self._flow(zone)}" for zone in self.zones)
            self.edits.append(Edit(key.start_mark.index, key.start_mark.index, f"zones: {{{zones}}}, "))
            return
        lines = ["zones:"]
        for zone in self.zones:
            lines += [f"  # {note}" for note in zone.notes]
            if not zone.entries:
                lines.append(f"  {plain_key(zone.name)}: {{}}")
                continue
            lines.append(f"  {plain_key(zone.name)}:")
            lines += self._block(zone)
        at = _above_comments(self.text, start_of_line(self.text, key.start_mark.index))
        indent = " " * key.start_mark.column
        written = [f"{indent}{line}" for line in lines]
        if self.text[:at].endswith((self.newline * 2, f"{self.newline}{indent}{self.newline}")):
            # Sections with a blank line between them stay so.
            written.append("")
        self.edits.append(Edit(at, at, self.newline.join(written) + self.newline))

    def _block(self, zone: _Zone) -> list[str]:
        lines: list[str] = []
        session = [entry for entry in zone.entries if entry.key in _IN_SESSION]
        for entry in zone.entries:
            if entry.key not in _IN_SESSION:
                lines += entry.lines(entry.key, "    ")
            elif entry is session[0]:
                lines.append("    session:")
                for inner in session:
                    lines += inner.lines(_IN_SESSION[inner.key], "      ")
        return lines

    def _flow(self, zone: _Zone) -> str:
        session = [f"{_IN_SESSION[e.key]}: {e.value}" for e in zone.entries if e.key in _IN_SESSION]
        parts = [f"{e.key}: {e.value}" for e in zone.entries if e.key not in _IN_SESSION]
        if session:
            parts.append(f"session: {{{', '.join(session)}}}")
        return "{" + ", ".join(parts) + "}"

    # --- text

    def _replace(self, node: yaml.Node, text: str) -> None:
        start, end = node.start_mark.index, end_of(node)
        quote = self.text[start : start + 1]
        if isinstance(node, yaml.ScalarNode) and quote in "\"'" and text.isalpha():
            text = f"{quote}{text}{quote}"
        self.edits.append(Edit(start, end, text))

    def _replace_grant(self, key: yaml.Node, grant: yaml.MappingNode, name: str, comments: list[str]) -> None:
        """Put the name of a zone in the place of a grant, and comments beside it.

        Those of a block have gone into the zone.
        """
        start = self.text.index(":", key.end_mark.index) + 1
        end = end_of(grant)
        if not grant.flow_style:
            end = end_of_line(self.text, end)
        inside = self.sections["rules"][1].flow_style or self.text[end : end_of_line(self.text, end)].strip()
        beside = f"  # {'; '.join(comments)}" if comments and not inside else ""
        self.edits.append(Edit(start, end, f" {name}{beside}"))

    def _free(self, wanted: str, taken: set[str]) -> str:
        name, number = wanted[:_MAX_NAME], 2
        while name in taken:
            name, number = f"{wanted[: _MAX_NAME - 4]}-{number}", number + 1
        return name


def _scalar(node: yaml.MappingNode, key: str) -> str:
    return next(str(value.value) for name, value in node.value if name.value == key)


def _as_flow(node: yaml.Node) -> str:
    """A scalar, or a list of scalars, in one line."""
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(plain_key(str(item.value)) for item in node.value) + "]"
    return str(node.value) if node.value else "null"


def _above_comments(text: str, at: int) -> int:
    """The start of the comment lines that stand directly above the line that starts at `at`."""
    while at > 0:
        above = start_of_line(text, at - 1)
        if not text[above:at].lstrip().startswith("#"):
            break
        at = above
    return at
