"""Processes the changes of one response: the notice that follows from them, and their effect on the store.

A defect in the processing of one change is recorded as a problem of the response. It does not stop the other changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dane_radius.local import Logger
from trust_sync.anchors import StoreError
from trust_sync.feeds import ChangesReader, LimitedLog, Problems, shortened
from trust_sync.registries.anchor_sync import AnchorSync
from trust_sync.registries.changes import ForeignChange, changed_domain, changed_name
from trust_sync.registries.messages import Change
from trust_sync.shared import Notice, RegistryConfig, TimeSlice, Trigger

_FoundT = TypeVar("_FoundT")


@dataclass(frozen=True)
class AppliedChanges:
    """The result of applying a response to the store.

    passed: the sequence number up to which all changes are applied. failure: the first error of the store.
    comparison_due: whether a removal made room for an anchor that was refused before.
    """

    passed: int
    failure: StoreError | None
    comparison_due: bool


class ChangeProcessor:
    """Processes the responses of one registry."""

    def __init__(self, config: RegistryConfig, anchors: AnchorSync, log: Logger, limited_log: LimitedLog) -> None:
        self._config, self._anchors, self._log, self._limited_log = config, anchors, log, limited_log

    async def collect_notice(self, response: ChangesReader[Change], pace: TimeSlice) -> Notice:
        """Collect the names and domains that the changes are about. A revocation outweighs other changes of a name."""
        names: dict[str, Trigger] = {}
        domains: dict[str, Trigger] = {}
        for change in response.changes:
            await pace.rest()
            if domain := self._read(changed_domain, change, response.problems):
                domains[domain] = Trigger.ROLLOVER
            if found := self._read(changed_name, change, response.problems):
                name, trigger = found
                if trigger is Trigger.REVOKED or name not in names:
                    names[name] = trigger
        return Notice(self._config.name, names, domains)

    def _read(
        self, read: Callable[[Change, RegistryConfig], _FoundT | None], change: Change, problems: Problems
    ) -> _FoundT | None:
        """Call `read`, and log why a change is ignored."""
        try:
            return read(change, self._config)
        except ForeignChange as error:
            fields = {key: shortened(value) for key, value in error.fields.items()}
            self._limited_log.warning(error.event, **fields)
        except Exception as error:
            self._record_defect(change, error, problems)
        return None

    async def apply(self, response: ChangesReader[Change], pace: TimeSlice) -> AppliedChanges:
        """Apply the changes to the store. A change that the store cannot take does not stop those after it."""
        failure: StoreError | None = None
        passed, comparison_due = response.since, False
        for change in response.changes:
            await pace.rest()
            try:
                comparison_due = self._apply_one(change, response.problems) or comparison_due
            except StoreError as error:
                failure = failure or error
            if failure is None:
                passed = change.seq
        return AppliedChanges(passed if failure is not None else response.next, failure, comparison_due)

    def _apply_one(self, change: Change, problems: Problems) -> bool:
        """Apply a change to the store. Returns whether a full comparison is due. Raises StoreError."""
        if change.anchor is None:
            return False
        try:
            match change.type:
                case "anchor.added":
                    self._anchors.add(change.anchor, change.domain)
                case "anchor.removed":
                    return self._anchors.withdraw(change.anchor, change.domain)
        except StoreError:
            raise
        except Exception as error:
            self._record_defect(change, error, problems)
        return False

    def _record_defect(self, change: Change, error: Exception, problems: Problems) -> None:
        self._log.exception("change not processed", seq=change.seq)
        problems.add(f"change {change.seq}: {type(error).__name__}: {error}")
