"""What the commands ask of a service, whether it is on this machine or elsewhere."""

from __future__ import annotations

from typing import Protocol

from operations.core.standing import Subject
from operations.service.schemas import (
    AnswerBody,
    Answered,
    Approval,
    AuditList,
    DeviceDetail,
    DeviceList,
    DeviceSearch,
    History,
    KeyCreate,
    KeyCreated,
    KeyList,
    KeyView,
    NodeList,
    QuestionList,
    Release,
    StandingChange,
    StandingResult,
    StatusView,
)


class Administration(Protocol):
    """A service, as its administrators use it. Every method raises Refused."""

    def set_standing(self, name: str, wanted: StandingChange) -> StandingResult: ...

    def release(self, name: str, wanted: Release) -> StandingResult: ...

    def approve(self, subject: Subject, name: str, wanted: Approval) -> StandingResult: ...

    def history(self, name: str) -> History: ...

    def questions(self) -> QuestionList: ...

    def answer(self, name: str, wanted: AnswerBody) -> Answered: ...

    def list_devices(self, wanted: DeviceSearch) -> DeviceList: ...

    def show_device(self, name: str) -> DeviceDetail: ...

    def list_nodes(self) -> NodeList: ...

    def create_key(self, wanted: KeyCreate) -> KeyCreated: ...

    def list_keys(self) -> KeyList: ...

    def revoke_key(self, identifier: str) -> KeyView: ...

    def audit_log(self, after: int, limit: int) -> AuditList: ...

    def status(self) -> StatusView: ...
