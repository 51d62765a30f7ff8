"""Request and response bodies of the JSON API, which `--json` prints too: fields, limits and examples."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from operations.core.approvals import Answer
from operations.core.standing import MAX_SECONDS
from operations.service.access import Scope
from operations.service.fields import Label, NodeName, StandingName, Text, Time, ZoneName, check_plain
from web_service.core import RequestBody, ResponseBody


class Ending(RequestBody):
    """How long a change lasts, and what follows. until: a time; seconds: from now on; neither: without end."""

    until: Time | None = Field(None, examples=["2030-01-01T00:00:00Z"])
    seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] | None = None
    then: StandingName | None = Field(None, description="The standing afterwards; default: normal.")

    @model_validator(mode="after")
    def _one_end(self) -> Ending:
        if self.until is not None and self.seconds is not None:
            raise ValueError("until and seconds exclude each other: give one of them")
        return self

    def end(self, now: dt.datetime) -> dt.datetime | None:
        """When the change ends; None: it does not."""
        return now + dt.timedelta(seconds=self.seconds) if self.seconds is not None else self.until


class StandingChange(Ending):
    """A new standing of a device. zone: instead of the zone that the policy has for this standing."""

    standing: StandingName = Field(examples=["quarantined"])
    reason: Text = ""
    zone: ZoneName | None = None


class Release(Ending):
    """The end of a quarantine, a watch or a block. reason: what was checked."""

    reason: Annotated[Text, Field(min_length=1)]


class Approval(RequestBody):
    """Whether a device, or every device of a maker, is approved."""

    approved: bool
    reason: Text = ""


class AnswerBody(RequestBody):
    """The answer to a question: yes, no, or always: yes for every device of this maker."""

    answer: Annotated[Answer, Field(strict=False)]
    reason: Text = ""


class KeyCreate(RequestBody):
    label: Label
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1, max_length=len(Scope))
    node: NodeName | None = Field(None, description="The only node that the key may speak for.")
    expires_at: Time | None = None


class SessionReport(RequestBody):
    id: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(check_plain)]
    name: Annotated[str, Field(min_length=1, max_length=254)]
    station: str | None = None
    nas: str | None = None
    ssid: str | None = None
    since: str | float | int | None = None


class Lost(RequestBody):
    decisions: Annotated[int, Field(ge=0, le=2**53)] = 0


class SessionsReport(RequestBody):
    """All live sessions of a node. lost: what it could not send, as a counter that only grows."""

    sessions: list[SessionReport] = Field(max_length=20_000)
    lost: Lost = Lost()


class DeviceSearch(RequestBody):
    """Search criteria for devices, all of which must hold. after: the name before the first one of the page."""

    zone: str | None = None
    standing: StandingName | None = None
    maker: str | None = None
    type: str | None = None
    search: str | None = None
    refused: bool = False
    online: bool = False
    unproven: bool = False
    after: str | None = None
    limit: int = 100


class StandingSearch(RequestBody):
    """subject: device or maker. after: the name before the first one of the page."""

    subject: Literal["device", "maker"] = "device"
    standing: StandingName | None = None
    after: str | None = None


class StandingView(ResponseBody):
    """until: when `then` begins, with the zone `then_zone`; null: never.

    since, by, reason: of the last change; null: there was none.
    """

    subject: str
    name: str
    standing: str
    approved: bool
    zone: str | None
    until: dt.datetime | None
    then: str
    then_zone: str | None
    reason: str | None
    by: str | None
    since: dt.datetime | None


class StandingResult(StandingView):
    """changed: whether the request changed anything. seq: number of the last change of the feed.

    maker_approved: the approval of its maker counts for the device, too, whatever `approved` says.
    """

    changed: bool
    seq: int
    maker_approved: bool


class StandingList(ResponseBody):
    entries: list[StandingView]
    next: str | None = Field(description="`after` of the next page; null: this was the last.")


class HistoryEntry(ResponseBody):
    seq: int
    time: dt.datetime
    standing: str
    approved: bool
    zone: str | None
    until: dt.datetime | None
    then: str
    then_zone: str | None
    reason: str
    by: str


class Restored(ResponseBody):
    """The origin of a database after a restore, and before it. seq: number of the last change of the feed."""

    origin: str
    before: str
    seq: int


class History(ResponseBody):
    name: str
    entries: list[HistoryEntry]


class DeviceView(ResponseBody):
    """proven: a device has proven that it holds this name. zone: of its last admission. online: it has a live session.

    refusals: how often the name was refused; anyone can present it, so that they prove nothing about the device.
    """

    name: str
    maker: str
    type: str | None
    display_name: str | None
    proven: bool
    standing: str
    approved: bool
    zone: str | None
    online: bool
    first_seen: dt.datetime | None
    last_seen: dt.datetime | None
    last_admitted: dt.datetime | None
    last_refused: dt.datetime | None
    refusal_reason: str | None
    admissions: int
    refusals: int
    station: str | None
    nas: str | None
    ssid: str | None


class DeviceList(ResponseBody):
    devices: list[DeviceView]
    next: str | None = Field(description="`after` of the next page; null: this was the last.")


class PlaceView(ResponseBody):
    station: str
    nas: str
    ssid: str
    first_seen: dt.datetime
    last_seen: dt.datetime


class DecisionView(ResponseBody):
    at: dt.datetime
    node: str
    accepted: bool
    reason: str
    zone: str | None
    rule: str | None
    station: str | None
    nas: str | None
    ssid: str | None
    detail: str | None


class SessionView(ResponseBody):
    node: str
    id: str
    station: str | None
    nas: str | None
    ssid: str | None
    since: dt.datetime | None


class DeviceDetail(DeviceView):
    mud_url: str | None
    certificate: str | None
    records: list[str]
    rule: str | None
    standing_detail: StandingView
    places: list[PlaceView]
    sessions: list[SessionView]
    admissions_kept: list[DecisionView]
    refusals_kept: list[DecisionView]


class QuestionView(ResponseBody):
    """A device that waits for an answer. place: the network as policy calls it, else its SSID, else its NAS.

    proven: false: nobody has proven to hold this name; somebody was refused who presented it.
    """

    name: str
    maker: str
    type: str | None
    place: str | None
    proven: bool
    zone: str | None
    asked_at: dt.datetime
    last_seen: dt.datetime


class QuestionList(ResponseBody):
    questions: list[QuestionView]


class Answered(ResponseBody):
    """closed: the names whose questions this answer has closed."""

    answer: str
    standing: StandingView
    closed: list[str]


class NodeView(ResponseBody):
    name: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    taken: int
    skipped: int
    lost: int


class NodeList(ResponseBody):
    nodes: list[NodeView]


class Taken(ResponseBody):
    taken: int
    skipped: int


class KeyView(ResponseBody):
    id: str
    label: str
    scopes: list[str]
    node: str | None
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
    target: str
    detail: dict[str, Any]


class AuditList(ResponseBody):
    entries: list[AuditView]
    next: int | None


class ChangeView(ResponseBody):
    seq: int
    type: str
    time: str
    subject: str
    name: str
    standing: str
    approved: bool
    zone: str | None
    until: float | None
    then: str
    removed: bool
    reason: str
    by: str


class ChangeList(ResponseBody):
    origin: str
    changes: list[ChangeView]
    next: int


class SnapshotEntry(ResponseBody):
    subject: str
    name: str
    standing: str
    approved: bool
    zone: str | None
    until: float | None
    then: str
    removed: bool


class Snapshot(ResponseBody):
    origin: str
    seq: int
    standing: list[SnapshotEntry]


class PolicyView(ResponseBody):
    """error: what is wrong with the present file; the last valid one stays in force. path: null: none is configured."""

    path: str | None
    zones: list[str]
    rules: list[str]
    error: str | None


class StatusView(ResponseBody):
    """devices: by standing, those that are not plain normal. inventory: by whether the name is proven."""

    origin: str
    feed_sequence: int
    devices: dict[str, int]
    inventory: dict[str, int]
    open_questions: int
    sessions: int
    nodes: list[NodeView]
    policy: PolicyView | None = None


class Health(ResponseBody):
    """Each of pass, warn and fail. policy: warn: the present file is invalid, and the last valid one is in force."""

    status: str
    database: str
    policy: str | None = None
