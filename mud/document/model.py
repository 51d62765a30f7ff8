"""A MUD file as immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from mud.document.matches import Matches
from mud.document.yang_types import (
    DateAndTime,
    HttpsUrl,
    ListedName,
    Text,
    Uri,
    YangModel,
    authority_of,
    identity,
    listing,
    unique,
)
from mud.findings import Finding
from mud.limits import MAX_ACLS, MAX_EXTENSIONS

_ACL_MODULE = "ietf-access-control-list"
AclType = Literal[
    "ipv4-acl-type",
    "ipv6-acl-type",
    "eth-acl-type",
    "mixed-eth-ipv4-acl-type",
    "mixed-eth-ipv6-acl-type",
    "mixed-eth-ipv4-ipv6-acl-type",
]
ACL_TYPES: tuple[AclType, ...] = (
    "ipv4-acl-type",
    "ipv6-acl-type",
    "eth-acl-type",
    "mixed-eth-ipv4-acl-type",
    "mixed-eth-ipv6-acl-type",
    "mixed-eth-ipv4-ipv6-acl-type",
)


class Mode(StrEnum):
    """How to read a file. strict: as RFC 8520 says. lenient: known deviations are read, with a finding each."""

    STRICT = "strict"
    LENIENT = "lenient"


class AclReference(YangModel):
    """The name of an ACL that a policy applies."""

    name: ListedName


class AccessLists(YangModel):
    """The ACLs of one direction, in the order of the file."""

    access_list: Annotated[tuple[AclReference, ...], listing(max_length=MAX_ACLS)] = ()

    @field_validator("access_list")
    @classmethod
    def _keys(cls, references: tuple[AclReference, ...]) -> tuple[AclReference, ...]:
        unique(tuple(reference.name for reference in references))
        return references


class DevicePolicy(YangModel):
    """The container from-device-policy or to-device-policy."""

    access_lists: AccessLists = AccessLists()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(reference.name for reference in self.access_lists.access_list)


class MudContainer(YangModel):
    """The container ietf-mud:mud (RFC 8520 section 3). Texts are for people; nothing depends on them."""

    mud_version: Annotated[int, Field(ge=1, le=1)]
    mud_url: HttpsUrl
    last_update: DateAndTime
    is_supported: bool
    mud_signature: Uri | None = None
    # Hours.
    cache_validity: Annotated[int, Field(ge=1, le=168)] = 48
    systeminfo: Text | None = None
    mfg_name: Text | None = None
    model_name: Text | None = None
    firmware_rev: Text | None = None
    software_rev: Text | None = None
    documentation: Uri | None = None
    extensions: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=40)], ...],
        listing(max_length=MAX_EXTENSIONS),
        AfterValidator(unique),
    ] = ()
    from_device_policy: DevicePolicy = DevicePolicy()
    to_device_policy: DevicePolicy = DevicePolicy()
    # RFC 9761 section 5.4.
    tls_profile_supported: bool = Field(default=False, alias="ietf-mud-tls:is-tls-dtls-profile-supported")


class Actions(YangModel):
    """What happens to a packet that matches. Logging is accepted and ignored."""

    forwarding: Annotated[Literal["accept", "drop", "reject"], identity(_ACL_MODULE, "accept", "drop", "reject")]
    logging: Annotated[str, identity(_ACL_MODULE, "log-syslog", "log-none")] | None = None


class AceModel(YangModel):
    """An access control entry in a form that YANG accepts."""

    name: ListedName
    matches: Matches = Matches()
    actions: Actions


def _raw_entries(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError("a list is expected")
    return tuple(value)


class AcesModel(YangModel):
    """The entries of an ACL. Each one is read on its own, so that one invalid entry is one finding."""

    ace: Annotated[tuple[object, ...], BeforeValidator(_raw_entries)] = ()


class AclModel(YangModel):
    """An ACL, without reading its entries."""

    name: ListedName
    type: Annotated[AclType, identity(_ACL_MODULE, *ACL_TYPES)] | None = None
    aces: AcesModel = AcesModel()


@dataclass(frozen=True, slots=True)
class Entry:
    """An access control entry.

    `not_understood` says why the entry does not have its full meaning here; `matches` then lacks conditions. Such an
    entry must not permit a packet.
    """

    name: str
    place: str
    matches: Matches
    action: Literal["accept", "drop", "reject"]
    not_understood: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryList:
    """An ACL with its entries in the order of the file. The first entry that matches decides."""

    name: str
    type: AclType | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class MudFile:
    """A MUD file. `findings` says what deviates from RFC 8520 and what was left out."""

    mud: MudContainer
    acls: tuple[EntryList, ...]
    mode: Mode
    findings: tuple[Finding, ...] = field(default=())

    @property
    def authority(self) -> str:
        """The authority part of the MUD URL. Two devices of one authority are of the same manufacturer."""
        return authority_of(self.mud.mud_url)

    def acl(self, name: str) -> EntryList | None:
        """The ACL of that name, or None."""
        return next((acl for acl in self.acls if acl.name == name), None)
