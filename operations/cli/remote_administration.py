"""Administration of a service at a URL, over the JSON API and with a scoped API key."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from operations import __version__
from operations.core.reasons import StandingReason
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
from web_service.cli import JsonClient, query_string
from web_service.core import Reason


class RemoteAdministration:
    """See `operations.cli.administration.Administration`. Every method raises RemoteError, too."""

    def __init__(self, url: str, api_key: str, ca_file: Path | None) -> None:
        self._client = JsonClient(
            url,
            api_key,
            ca_file,
            agent=f"dane-operations/{__version__}",
            what="a dane-operations service",
            reasons=(Reason, StandingReason),
        )

    def set_standing(self, name: str, wanted: StandingChange) -> StandingResult:
        return self._put(f"{_device_path(name)}/standing", wanted, StandingResult)

    def release(self, name: str, wanted: Release) -> StandingResult:
        return self._client.post(f"{_device_path(name)}/release", wanted, StandingResult)

    def approve(self, subject: Subject, name: str, wanted: Approval) -> StandingResult:
        path = _device_path(name) if subject is Subject.DEVICE else f"/v1/makers/{quote(name, safe='')}"
        return self._put(f"{path}/approval", wanted, StandingResult)

    def _put(self, path: str, wanted: StandingChange | Approval, model: type[StandingResult]) -> StandingResult:
        return self._client.request("PUT", path, wanted.model_dump_json(exclude_none=True).encode(), model)

    def history(self, name: str) -> History:
        return self._client.get(f"{_device_path(name)}/history", History)

    def questions(self) -> QuestionList:
        return self._client.get("/v1/approvals", QuestionList)

    def answer(self, name: str, wanted: AnswerBody) -> Answered:
        return self._client.post(f"/v1/approvals/{quote(name, safe='')}", wanted, Answered)

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        values = {
            key: int(value) if isinstance(value, bool) else value
            for key, value in wanted.model_dump(mode="json", exclude_none=True).items()
        }
        return self._client.get(f"/v1/devices{query_string(values)}", DeviceList)

    def show_device(self, name: str) -> DeviceDetail:
        return self._client.get(_device_path(name), DeviceDetail)

    def list_nodes(self) -> NodeList:
        return self._client.get("/v1/nodes", NodeList)

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        return self._client.post("/v1/keys", wanted, KeyCreated)

    def list_keys(self) -> KeyList:
        return self._client.get("/v1/keys", KeyList)

    def revoke_key(self, identifier: str) -> KeyView:
        return self._client.request("DELETE", f"/v1/keys/{quote(identifier, safe='')}", None, KeyView)

    def audit_log(self, after: int, limit: int) -> AuditList:
        return self._client.get(f"/v1/audit{query_string({'after': after, 'limit': limit})}", AuditList)

    def status(self) -> StatusView:
        return self._client.get("/v1/status", StatusView)


def _device_path(name: str) -> str:
    return f"/v1/devices/{quote(name, safe='')}"
