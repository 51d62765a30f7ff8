"""Administration of the service of this machine, through its database."""

from __future__ import annotations

from operations.core.standing import Subject
from operations.local.config import Settings
from operations.local.policy_file import PolicyFile
from operations.service import api_keys, approvals, audit, inventory, node_reports, questions, restores, standings
from operations.service import status as status_service
from operations.service.access import Principal
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
    Restored,
    StandingChange,
    StandingResult,
    StatusView,
)
from web_service.local import utc_now
from web_service.store import Database


class LocalAdministration:
    """See `Administration`. Users who can read the database need no API key."""

    def __init__(self, settings: Settings, database: Database, who: Principal) -> None:
        self.settings = settings
        self.database = database
        self.who = who

    def set_standing(self, name: str, wanted: StandingChange) -> StandingResult:
        # Only a zone needs the policy file, which need not be valid otherwise.
        policy = PolicyFile(self.settings.operations.policy if wanted.zone else None)
        with self.database.write() as session:
            return standings.set_standing(session, self.who, name, wanted, policy, utc_now())

    def release(self, name: str, wanted: Release) -> StandingResult:
        with self.database.write() as session:
            return standings.release(session, self.who, name, wanted, utc_now())

    def approve(self, subject: Subject, name: str, wanted: Approval) -> StandingResult:
        with self.database.write() as session:
            return standings.approve(session, self.who, subject, name, wanted, utc_now())

    def history(self, name: str) -> History:
        with self.database.read() as session:
            return standings.history(session, self.who, Subject.DEVICE, name)

    def questions(self) -> QuestionList:
        with self.database.read() as session:
            return questions.find_open(session, self.who)

    def answer(self, name: str, wanted: AnswerBody) -> Answered:
        with self.database.write() as session:
            return approvals.answer(session, self.who, name, wanted, utc_now())

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        with self.database.read() as session:
            return inventory.search(session, self.who, wanted, utc_now())

    def show_device(self, name: str) -> DeviceDetail:
        with self.database.read() as session:
            return inventory.detail(session, self.who, name, utc_now())

    def list_nodes(self) -> NodeList:
        with self.database.read() as session:
            return node_reports.find_nodes(session, self.who)

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        with self.database.write() as session:
            return api_keys.create(session, self.who, wanted, utc_now())

    def list_keys(self) -> KeyList:
        with self.database.read() as session:
            return KeyList(keys=[api_keys.view(row) for row in api_keys.find_keys(session, self.who)])

    def revoke_key(self, identifier: str) -> KeyView:
        with self.database.write() as session:
            return api_keys.view(api_keys.revoke_key(session, self.who, identifier, utc_now()))

    def restored(self, reason: str) -> Restored:
        """Say that the database was restored from a backup. Only users of this machine can."""
        with self.database.write() as session:
            return restores.renew_origin(session, self.who, reason, utc_now())

    def audit_log(self, after: int, limit: int) -> AuditList:
        with self.database.read() as session:
            entries, following = audit.page(session, self.who, after, limit)
        return AuditList(entries=entries, next=following)

    def status(self) -> StatusView:
        with self.database.read() as session:
            return status_service.status(session, PolicyFile(self.settings.operations.policy))
