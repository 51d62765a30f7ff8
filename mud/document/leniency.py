"""Known deviations of published files, changed into what RFC 8520 says, with a finding each.

Only what has one possible meaning is changed. The rest stays as it is, and the models refuse it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from mud.document.model import MudContainer
from mud.findings import Code, Findings, found
from mud.limits import MAX_TEXT

MUD = "ietf-mud:mud"
ACLS = "ietf-access-control-list:acls"
_DRAFT_ACLS = "ietf-access-control-list:access-lists"
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,4}")
_BOOLEANS = {"true": True, "false": False}
_TLS_SUPPORT = "ietf-mud-tls:is-tls-dtls-profile-supported"
_TEXTS = ("systeminfo", "mfg-name", "model-name", "firmware-rev", "software-rev")
_CONTAINER_MEMBERS = {str(field.alias) for field in MudContainer.model_fields.values()}
# The example of RFC 9761 section 7 does not use the names of its own YANG module.
_TLS_PROFILES = "ietf-acl-tls:client-profiles"
_TLS_EXAMPLE = {
    "supported-tls-versions": "supported-tls-version",
    "supported-dtls-versions": "supported-dtls-version",
    "cipher-suites": "cipher-suite",
    "extension-types": "extension-type",
    "supported-groups": "supported-group",
}


def adapt(data: dict[str, Any], findings: Findings) -> None:
    """Change the roots of a file and its MUD container, in place."""
    if ACLS not in data and _DRAFT_ACLS in data:
        data[ACLS] = data.pop(_DRAFT_ACLS)
        findings.add(Code.DRAFT_NAME, _DRAFT_ACLS, f"a draft's name, read as {ACLS}")
    for name in [name for name in data if name not in (MUD, ACLS)]:
        _leave_out(data, name, name, findings)
    container = data.get(MUD)
    if isinstance(container, dict):
        _adapt_container(container, findings)
    acls = data.get(ACLS)
    if isinstance(acls, dict) and "attachment-points" in acls:
        _leave_out(acls, "attachment-points", f"{ACLS}.attachment-points", findings)


def _leave_out(members: dict[str, Any], name: str, place: str, findings: Findings) -> None:
    del members[name]
    findings.add(Code.UNKNOWN_MEMBER, place, "unknown, left out")


def _adapt_container(container: dict[str, Any], findings: Findings) -> None:
    for name in [name for name in container if name not in _CONTAINER_MEMBERS]:
        _leave_out(container, name, f"{MUD}.{name}", findings)
    for name in ("is-supported", _TLS_SUPPORT):
        value = container.get(name)
        if isinstance(value, str) and value in _BOOLEANS:
            container[name] = _BOOLEANS[value]
            findings.add(Code.QUOTED_BOOLEAN, f"{MUD}.{name}", f"{found(value)}, read as a boolean")
    for name in _TEXTS:
        value = container.get(name)
        if isinstance(value, str) and not value.isprintable() and len(value) <= MAX_TEXT:
            container[name] = "".join(letter if letter.isprintable() else "\ufffd" for letter in value)
            findings.add(Code.REPLACED_CHARACTERS, f"{MUD}.{name}", "control or formatting characters, replaced")


def adapt_acl(acl: dict[str, Any], place: str, findings: Findings) -> None:
    """Change the members of an ACL beside its entries, in place."""
    if acl.get("type") == "ethernet-acl-type":
        acl["type"] = "eth-acl-type"
        findings.add(Code.DRAFT_NAME, f"{place}.type", "ethernet-acl-type is a draft's name, read as eth-acl-type")


def adapt_entry(entry: dict[str, Any], place: str, findings: Findings) -> None:
    """Change an access control entry, in place."""
    matches = entry.get("matches")
    if not isinstance(matches, dict):
        return
    if "actions" in matches and "actions" not in entry:
        entry["actions"] = matches.pop("actions")
        findings.add(Code.MISPLACED, f"{place}.matches.actions", "actions inside matches, read as beside it")
    place = f"{place}.matches"
    eth = matches.get("eth")
    if isinstance(eth, dict):
        _adapt_ethertype(eth, f"{place}.eth.ethertype", findings)
    for name, longest in (("ipv4", 32), ("ipv6", 128)):
        header = matches.get(name)
        if isinstance(header, dict):
            for member in (f"source-{name}-network", f"destination-{name}-network"):
                _adapt_network(header, member, longest, f"{place}.{name}.{member}", findings)
    for name in ("tcp", "udp"):
        header = matches.get(name)
        for member in ("source-port", "destination-port"):
            if isinstance(header, dict) and isinstance(header.get(member), dict):
                _adapt_port(header[member], f"{place}.{name}.{member}", findings)
    _adapt_tls(matches, place, findings)


def _adapt_ethertype(eth: dict[str, Any], place: str, findings: Findings) -> None:
    value = eth.get("ethertype")
    if isinstance(value, str) and _HEX.fullmatch(value):
        eth["ethertype"] = int(value, 16)
        findings.add(Code.HEX_ETHERTYPE, place, f"{found(value)} is text, read as the number {int(value, 16)}")


def _adapt_network(header: dict[str, Any], member: str, longest: int, place: str, findings: Findings) -> None:
    value = header.get(member)
    if not isinstance(value, str):
        return
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return
    if address.max_prefixlen == longest and "%" not in value:
        header[member] = f"{address}/{longest}"
        findings.add(Code.BARE_ADDRESS, place, f"{found(value)} has no prefix length, read as one address")


def _adapt_port(port: dict[str, Any], place: str, findings: Findings) -> None:
    if port.get("operator") == "range" and "lower-port" in port and "upper-port" in port:
        del port["operator"]
        findings.add(Code.RANGE_OPERATOR, place, "range is no operator; read as the range of lower-port and upper-port")


def _adapt_tls(matches: dict[str, Any], place: str, findings: Findings) -> None:
    example = "ietf-acl-tls:client-profile"
    if example in matches and _TLS_PROFILES not in matches:
        matches[_TLS_PROFILES] = matches.pop(example)
        findings.add(Code.DRAFT_NAME, f"{place}.{example}", f"read as {_TLS_PROFILES}")
    profiles = matches.get(_TLS_PROFILES)
    if not isinstance(profiles, dict):
        return
    if "tls-dtls-profiles" in profiles and "tls-dtls-profile" not in profiles:
        profiles["tls-dtls-profile"] = profiles.pop("tls-dtls-profiles")
        findings.add(Code.DRAFT_NAME, f"{place}.{_TLS_PROFILES}", "tls-dtls-profiles, read as tls-dtls-profile")
    listed = profiles.get("tls-dtls-profile")
    for profile in listed if isinstance(listed, list) else []:
        for name in [name for name in profile if name in _TLS_EXAMPLE] if isinstance(profile, dict) else []:
            if _TLS_EXAMPLE[name] not in profile:
                profile[_TLS_EXAMPLE[name]] = profile.pop(name)
                findings.add(Code.DRAFT_NAME, f"{place}.{_TLS_PROFILES}", f"{name}, read as {_TLS_EXAMPLE[name]}")
