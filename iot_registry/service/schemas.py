"""Requests and answers of the JSON API and of `--json`: their fields, limits and examples."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from iot_registry.pki.issue import MAX_MUD_URL
from iot_registry.publication.profile import Profile
from iot_registry.service.access import Scope
from iot_registry.store.models import DeviceStatus

# RFC 3986, cut down to what a MUD URL needs; RFC 8520 section 1.5 wants https.
_MUD_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?\Z")


def _check_mud_url(url: str) -> str:
    if len(url) > MAX_MUD_URL or not _MUD_URL.match(url):
        raise ValueError(f"expected an https URL of at most {MAX_MUD_URL} plain characters, without query or fragment")
    return url


def _check_plain(text: str) -> str:
    # PostgreSQL has no NUL in text, and a terminal should not get control characters from a client.
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


MudUrl = Annotated[str, AfterValidator(_check_mud_url)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_check_plain)]
Label = Annotated[str, Field(min_length=1, max_length=63)]
DomainName = Annotated[str, Field(min_length=3, max_length=253)]


class Request(BaseModel):
    """A request body: no field that is not listed, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DeviceCreate(Request):
    """A new device. Without `domain`, the domain of the key, or the registry's first."""

    label: Label = Field(examples=["a1b2c3"])
    type: Label = Field(examples=["camera"])
    domain: DomainName | None = None
    mud_url: MudUrl | None = Field(None, examples=["https://maker.example/camera.json"])
    profile: Annotated[Profile, Field(strict=False)] | None = None
    token: bool = Field(True, description="Make a one-time enrollment token and return it as a bundle.")


class DeviceSearch(Request):
    """Which devices: all of these must hold. after: the name before the first one."""

    domain: str | None = None
    status: Annotated[DeviceStatus, Field(strict=False)] | None = None
    type: str | None = None
    search: str | None = None
    after: str | None = None
    limit: int = 100

    def criteria(self) -> dict[str, Any]:
        """As `iot_registry.service.devices.search` takes them."""
        return {
            "domain": self.domain,
            "status": self.status,
            "type_": self.type,
            "text": self.search,
            "after": self.after,
            "limit": self.limit,
        }


class Revoke(Request):
    reason: Text = Field("", description="Why, for the audit log.")


class Rehome(Request):
    domain: DomainName
    immediate: bool = Field(
        False,
        description="Withdraw the old name now, instead of once the device has enrolled under the new one.",
    )


class Empty(Request):
    """No fields."""


class DomainCreate(Request):
    name: DomainName
    zone: DomainName | None = Field(None, description="The zone that holds the records; default: the domain itself.")
    profile: Annotated[Profile, Field(strict=False)] | None = None
    ttl: Annotated[int, Field(ge=0, le=86400)] | None = None


class KeyCreate(Request):
    label: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check_plain)]
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1, max_length=len(Scope))
    domain: DomainName | None = None
    expires_at: Annotated[dt.datetime, Field(strict=False)] | None = None


class CertificateView(Answer):
    serial: str
    fingerprint: str
    status: str
    issued_at: dt.datetime
    not_after: dt.datetime
    published_at: dt.datetime | None
    delivered_at: dt.datetime | None
    pem: str


class DeviceView(Answer):
    """published: TLSA records that the DNS last confirmed. pending: the DNS does not agree with this yet."""

    name: str
    domain: str
    type: str
    status: str
    mud_url: str | None
    profile: str
    created_at: dt.datetime
    updated_at: dt.datetime
    revoked_at: dt.datetime | None
    revoke_reason: str | None
    rehomed_from: str | None
    published: list[str]
    pending: bool


class DeviceDetail(DeviceView):
    certificates: list[CertificateView]
    token_expires_at: dt.datetime | None


class DeviceCreated(Answer):
    """bundle: what the device needs to enroll; it holds the token and is shown only once."""

    device: DeviceView
    bundle: str | None
    expires: dt.datetime | None


class DeviceList(Answer):
    devices: list[DeviceView]
    next: str | None = Field(description="`after` of the next page; null: this was the last.")


class DomainView(Answer):
    name: str
    zone: str
    profile: str
    ttl: int
    created_at: dt.datetime
    issuing_ca_aki: str
    devices: int


class DomainCreated(Answer):
    """admin_key: shown only once. ds: DS records for the parent zone, if the signer made the zone."""

    domain: DomainView
    admin_key: str
    ds: list[str]
    todo: list[str]


class DomainList(Answer):
    domains: list[DomainView]


class KeyView(Answer):
    id: str
    label: str
    scopes: list[str]
    domain: str | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


class KeyCreated(Answer):
    key: KeyView
    secret: str


class KeyList(Answer):
    keys: list[KeyView]


class AuditView(Answer):
    id: int
    time: dt.datetime
    actor: str
    action: str
    domain: str | None
    target: str
    detail: dict[str, Any]


class AuditList(Answer):
    entries: list[AuditView]
    next: int | None


class ChangeView(Answer):
    seq: int
    time: dt.datetime
    type: str
    domain: str
    name: str | None
    anchor: dict[str, str] | None


class ChangeList(Answer):
    changes: list[ChangeView]
    next: int


class Snapshot(Answer):
    seq: int
    anchors: list[dict[str, str]]
    names: list[str]


class Provisioning(Answer):
    root_ca: str
    issuing_ca: str
    server_certificate: str
    url_blob: str
    url_signature: str
    server_certificate_signature: str


class AuthorityView(Answer):
    """kind: root or issuing. issuing: it signs what is issued now. certificates: how many of its are in use.
    due: it ends so soon that it needs a successor."""

    kind: str
    domain: str | None
    aki: str
    generation: int
    not_after: dt.datetime
    issuing: bool
    certificates: int
    due: bool


class StatusView(Answer):
    devices: dict[str, int]
    outbox_pending: int
    outbox_oldest_seconds: float
    outbox_last_error: str | None
    feed_sequence: int
    authorities: list[AuthorityView]


class Problem(BaseModel):
    """RFC 7807 problem details; `reason` is one of a closed list, `field` the part of the request at
    fault."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    field: str | None = None
