"""Request and response bodies of the JSON API, which `--json` prints too: fields, limits and examples."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from iot_registry.core.device_certificates import MAX_MUD_URL
from iot_registry.core.tlsa import Profile
from iot_registry.service.access import Scope
from iot_registry.store.models import DeviceStatus
from web_service.core import RequestBody, ResponseBody

# The part of RFC 3986 that a MUD URL needs. RFC 8520 section 1.5 requires https.
_MUD_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?\Z")


def _check_mud_url(url: str) -> str:
    if len(url) > MAX_MUD_URL or not _MUD_URL.match(url):
        raise ValueError(f"expected an https URL of at most {MAX_MUD_URL} plain characters, without query or fragment")
    return url


def _check_plain(text: str) -> str:
    # PostgreSQL cannot store NUL, and a client must not send control characters to an administrator's terminal.
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


MudUrl = Annotated[str, AfterValidator(_check_mud_url)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_check_plain)]
Label = Annotated[str, Field(min_length=1, max_length=63)]
DomainName = Annotated[str, Field(min_length=3, max_length=253)]


class DeviceCreate(RequestBody):
    """A new device. Without `domain`, it is in the API key's domain, or else in the default domain."""

    label: Label = Field(examples=["a1b2c3"])
    type: Label = Field(examples=["camera"])
    domain: DomainName | None = None
    mud_url: MudUrl | None = Field(None, examples=["https://maker.example/camera.json"])
    profile: Annotated[Profile, Field(strict=False)] | None = None
    token: bool = Field(True, description="Make a one-time enrollment token and return it as a bundle.")


class DeviceSearch(RequestBody):
    """Search criteria for devices, all of which must hold. after: the name before the first one of the page."""

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


class Revoke(RequestBody):
    reason: Text = Field("", description="Why, for the audit log.")


class Rehome(RequestBody):
    domain: DomainName
    immediate: bool = Field(
        False,
        description="Withdraw the old name now, instead of once the device has enrolled under the new one.",
    )


class Empty(RequestBody):
    """No fields."""


class DomainCreate(RequestBody):
    name: DomainName
    zone: DomainName | None = Field(None, description="The zone that holds the records; default: the domain itself.")
    profile: Annotated[Profile, Field(strict=False)] | None = None
    ttl: Annotated[int, Field(ge=0, le=86400)] | None = None


class KeyCreate(RequestBody):
    label: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check_plain)]
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1, max_length=len(Scope))
    domain: DomainName | None = None
    expires_at: Annotated[dt.datetime, Field(strict=False)] | None = None


class CertificateView(ResponseBody):
    serial: str
    fingerprint: str
    status: str
    issued_at: dt.datetime
    not_after: dt.datetime
    published_at: dt.datetime | None
    delivered_at: dt.datetime | None
    pem: str


class DeviceView(ResponseBody):
    """published: TLSA records that the DNS last confirmed. pending: the DNS does not serve this state yet."""

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


class DeviceCreated(ResponseBody):
    """bundle: what the device needs to enroll. It holds the token, and is returned only once."""

    device: DeviceView
    bundle: str | None
    expires: dt.datetime | None


class DeviceList(ResponseBody):
    devices: list[DeviceView]
    next: str | None = Field(description="`after` of the next page; null: this was the last.")


class DomainView(ResponseBody):
    name: str
    zone: str
    profile: str
    ttl: int
    created_at: dt.datetime
    issuing_ca_aki: str
    devices: int


class DomainCreated(ResponseBody):
    """admin_key: returned only once. ds: DS records for the parent zone, if the signer made the zone."""

    domain: DomainView
    admin_key: str
    ds: list[str]
    todo: list[str]


class DomainList(ResponseBody):
    domains: list[DomainView]


class KeyView(ResponseBody):
    id: str
    label: str
    scopes: list[str]
    domain: str | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


class KeyCreated(ResponseBody):
    key: KeyView
    secret: str


class KeyList(ResponseBody):
    keys: list[KeyView]


class AuditView(ResponseBody):
    id: int
    time: dt.datetime
    actor: str
    action: str
    domain: str | None
    target: str
    detail: dict[str, Any]


class AuditList(ResponseBody):
    entries: list[AuditView]
    next: int | None


class ChangeView(ResponseBody):
    seq: int
    time: dt.datetime
    type: str
    domain: str
    name: str | None
    anchor: dict[str, str] | None


class ChangeList(ResponseBody):
    changes: list[ChangeView]
    next: int


class Snapshot(ResponseBody):
    seq: int
    anchors: list[dict[str, str]]
    names: list[str]


class Provisioning(ResponseBody):
    root_ca: str
    issuing_ca: str
    server_certificate: str
    url_blob: str
    url_signature: str
    server_certificate_signature: str


class AuthorityView(ResponseBody):
    """kind: root or issuing. issuing: whether it signs new certificates. certificates: how many of its own are in use.

    due: whether it expires so soon that it needs a successor.
    """

    kind: str
    domain: str | None
    aki: str
    generation: int
    not_after: dt.datetime
    issuing: bool
    certificates: int
    due: bool


class StatusView(ResponseBody):
    devices: dict[str, int]
    outbox_pending: int
    outbox_oldest_seconds: float
    outbox_last_error: str | None
    feed_sequence: int
    authorities: list[AuthorityView]


class Health(ResponseBody):
    """Each of pass, warn and fail. dns: absent if the database does not answer."""

    status: str
    database: str
    dns: str | None = None
