"""The state file: it survives a restart, and a damaged one costs only a synchronization."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trust_sync.discovery import DiscoveredName, DiscoveryState
from trust_sync.feeds import FeedPosition
from trust_sync.sessions import Access, PendingTermination, Session, SessionState, TerminationCause
from trust_sync.worker.state import StateFile, WorkerState

SESSION = Session("u1", "0123456789ABCDEF", "a1._device.example.net", "127.0.0.1", "02-00-00-00-00-01")


def filled() -> WorkerState:
    return WorkerState(
        {"home": FeedPosition(7, 1.0, 2.0, 3, "x")},
        DiscoveryState({"a": DiscoveredName(["f" * 64], 5.0)}, {"f" * 64 + " _device.example.net": 7.0}),
        SessionState(
            {"u1": PendingTermination(SESSION, TerminationCause.ABSENT, 1.0, 2.0, 3, "silent", Access("7"))},
            {"a": ["3 1 1 00"]},
        ),
    )


def test_the_state_survives(tmp_path: Path) -> None:
    state = filled()
    file = StateFile(tmp_path / "sub" / "state.json")
    file.save(state.to_json())
    assert StateFile(tmp_path / "sub" / "state.json").load() == state
    assert (tmp_path / "sub" / "state.json").stat().st_mode & 0o777 == 0o600


def test_the_format_on_disk_is_the_one_that_other_versions_wrote(tmp_path: Path) -> None:
    session = {
        "unique_id": "u1", "session_id": "0123456789ABCDEF", "name": "a1._device.example.net", "nas": "127.0.0.1",
        "station": "02-00-00-00-00-01", "called_station": "", "port_type": "",
    }  # fmt: skip
    pending = {"cause": "absent", "noticed": 1.0, "due": 2.0, "attempts": 3, "last_reply": "silent", "vlan": "7"}
    home = {"seq": 7, "last_success": 1.0, "last_snapshot": 2.0, "failures": 3, "last_error": "x"}
    name = {"fingerprints": ["f" * 64], "due": 5.0, "last_success": 0.0, "failures": 0, "last_error": None}
    written = {
        "version": 2,
        "feeds": {"home": home},
        "evidence": {"a": name},
        "unbacked": {"f" * 64 + " _device.example.net": 7.0},
        "pending": {"u1": {**pending, "session": session}},
        "records": {"a": ["3 1 1 00"]},
    }
    (tmp_path / "state.json").write_text(json.dumps(written))
    assert StateFile(tmp_path / "state.json").load() == filled()
    # What is written now says the same, and more.
    del pending["vlan"]
    now = {**pending, "session": {**session, "started": None}}
    now["access"] = {"vlan": "7", "filter_id": None, "session_timeout": None}
    assert filled().to_json() == {**written, "pending": {"u1": now}}


def test_what_is_saved_does_not_change_while_it_is_written() -> None:
    """The state is encoded in a thread."""
    state = filled()
    saved = state.to_json()
    before = json.dumps(saved)
    state.feeds["home"].seq = 8
    state.discovery.names["a"].fingerprints.append("e" * 64)
    state.discovery.unbacked["y"] = 2.0
    state.sessions.pending["u1"].due = 9.0
    state.sessions.records["b"] = []
    for part in (state.feeds, state.discovery.names, state.sessions.pending, state.sessions.records):
        part.clear()
    assert json.dumps(saved) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 2}', '{"version":2,"feeds":[]}']
)
def test_a_damaged_state_is_put_aside_and_costs_only_a_synchronization(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    file = StateFile(path)
    assert file.load() == WorkerState()
    assert file.problem
    assert (tmp_path / "state.json.damaged").read_text() == text
