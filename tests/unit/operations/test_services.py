"""Standings, the feed and API keys, on a database. Each friendly case stands beside its hostile one."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from operations.core.reasons import StandingReason
from operations.core.standing import MAX_SECONDS, Subject
from operations.local.position_file import NAME, FeedPosition, read_position
from operations.service import api_keys, audit, restores, standings
from operations.service.access import Principal, Scope
from operations.service.schemas import (
    KeyCreate,
    Release,
)
from operations.store import change_feed
from tests.unit.operations.asking import HOUR, put, refusal, standing_of
from tests.unit.operations.conftest import CAMERA, IDS, NOW, WHO, Bench
from trust_sync.standing.messages import to_entry
from web_service.core import Reason
from web_service.store import Database

# --- standings


def snapshot(bench: Bench) -> Any:
    return json.loads(bench.read(change_feed.snapshot))["standing"]


def test_a_quarantine_is_kept_told_written_down_and_audited(bench: Bench) -> None:
    result = put(bench, "quarantined", name=CAMERA.upper(), reason="scans", seconds=60, zone="waiting", then="watched")
    assert (result.name, result.standing, result.changed, result.seq) == (CAMERA, "quarantined", True, 1)
    (event,) = bench.events()
    assert event == {
        "seq": 1, "type": "standing", "time": "2026-11-25T12:00:00Z", "subject": "device", "name": CAMERA,
        "standing": "quarantined", "approved": False, "zone": "waiting", "until": NOW.timestamp() + 60,
        "then": "watched", "removed": False, "reason": "scans", "by": "local:test",
    }  # fmt: skip
    (entry,) = snapshot(bench)
    assert entry == {key: event[key] for key in entry}
    (line,) = bench.read(lambda s: standings.history(s, WHO, Subject.DEVICE, CAMERA)).entries
    assert (line.standing, line.reason, line.by) == ("quarantined", "scans", "local:test")
    ((written,), _) = bench.read(lambda s: audit.page(s, WHO))
    assert (written.action, written.target, written.detail["reason"]) == ("standing.set", CAMERA, "scans")


def test_a_repetition_is_neither_told_nor_written_down(bench: Bench) -> None:
    put(bench, "blocked")
    assert not put(bench, "blocked").changed
    assert len(bench.events()) == 1


def test_a_zone_must_be_one_of_the_policy(bench: Bench) -> None:
    with refusal(StandingReason.UNKNOWN_ZONE):
        put(bench, "quarantined", zone="nowhere")
    assert bench.events() == []


def test_a_release_is_told_as_an_entry_to_remove_and_stays_in_the_history(bench: Bench) -> None:
    put(bench, "quarantined")
    bench.write(lambda s: standings.release(s, WHO, CAMERA, Release(reason="new firmware"), NOW + HOUR))
    assert [(event["standing"], event["removed"]) for event in bench.events()] == [
        ("quarantined", False),
        ("normal", True),
    ]
    assert snapshot(bench) == []
    history = bench.read(lambda s: standings.history(s, WHO, Subject.DEVICE, CAMERA)).entries
    assert [entry.reason for entry in history] == ["new firmware", ""]


def test_a_monitor_may_quarantine_and_not_release(bench: Bench) -> None:
    assert put(bench, "quarantined", who=IDS).standing == "quarantined"
    with refusal(Reason.FORBIDDEN):
        bench.write(lambda s: standings.release(s, IDS, CAMERA, Release(reason="fine"), NOW))
    with refusal(StandingReason.NOT_PERMITTED):
        put(bench, "normal", who=IDS, reason="fine")
    with refusal(Reason.CONFLICT):
        put(bench, "watched", who=IDS)
    assert standing_of(bench) == "quarantined"


def test_a_monitor_chooses_no_zone_and_says_nothing_stricter_for_later(bench: Bench) -> None:
    for fields in ({"zone": "appliance"}, {"seconds": 1, "then": "blocked"}):
        with refusal(StandingReason.NOT_PERMITTED):
            put(bench, "watched", who=IDS, **fields)
    assert bench.events() == []


def test_no_change_lasts_longer_than_nodes_can_read(bench: Bench) -> None:
    with refusal(Reason.INVALID_FIELD):
        put(bench, "watched", until="2300-01-01T00:00:00Z")
    put(bench, "watched", seconds=MAX_SECONDS)
    (event,) = bench.events()
    entry, problem = to_entry(event)
    assert problem is None
    assert entry is not None
    assert (entry.standing, entry.until) == ("watched", NOW.timestamp() + MAX_SECONDS)


def test_what_follows_comes_in_time_and_once(bench: Bench) -> None:
    put(bench, "quarantined", seconds=60, then="watched")
    later = NOW + dt.timedelta(seconds=61)
    assert not bench.read(lambda s: standings.has_expired(s, NOW))
    assert standing_of(bench, now=later) == "watched"
    assert bench.read(lambda s: standings.has_expired(s, later))
    assert bench.write(lambda s: standings.expire(s, later)) == 1
    assert bench.write(lambda s: standings.expire(s, later)) == 0
    assert [(event["standing"], event["by"]) for event in bench.events(1)] == [("watched", "system:expiry")]


# --- the feed


def test_history_that_is_gone_is_said(bench: Bench) -> None:
    for label in "abc":
        put(bench, "blocked", name=f"{label}.example.net")
    bench.write(lambda s: change_feed.forget(s, NOW + dt.timedelta(days=31), 30))
    for since in (0, 2, 4):
        with refusal(Reason.HISTORY_GONE):
            bench.events(since)
    assert bench.events(3) == []
    assert len(snapshot(bench)) == 3
    # The horizon does not fall back.
    bench.write(lambda s: change_feed.forget(s, NOW + dt.timedelta(days=31), 3000))
    with refusal(Reason.HISTORY_GONE):
        bench.events(2)


def test_a_database_has_an_origin_of_its_own(bench: Bench) -> None:
    assert len(bench.read(change_feed.origin)) == 32


def copy(database: Database, path: Path) -> None:
    """A backup of the database."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql(f"VACUUM INTO '{path}'")
        connection.exec_driver_sql("BEGIN")


def test_a_restored_database_is_noticed_and_gets_another_origin(bench: Bench, tmp_path: Path) -> None:
    """Also if it makes changes before a follower asks: its numbers then overtake those of the follower."""
    put(bench, "blocked", name="a.example.net")
    copy(bench.database, tmp_path / "backup.db")
    put(bench, "blocked")
    restores.remember_position(bench.database, tmp_path, NOW)
    before = bench.read(change_feed.origin)
    # As often as it likes, and after further changes, it is the same database.
    put(bench, "watched")
    for _ in range(2):
        restores.remember_position(bench.database, tmp_path, NOW)
    assert bench.read(change_feed.origin) == before

    restored = Database(f"sqlite:///{tmp_path / 'backup.db'}")
    found = restores.check_position(restored, tmp_path, NOW)
    assert (found.seq, found.origin == before) == (1, False)
    with restored.read() as session:
        assert change_feed.read_since(session, 1).origin == found.origin
        ((*_, written), _) = audit.page(session, WHO)
    assert (written.action, written.detail["before"]) == ("origin.renew", before)
    # Once.
    restores.remember_position(restored, tmp_path, NOW)
    with restored.read() as session:
        assert change_feed.origin(session) == found.origin
    restored.close()


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"origin": 5}', b'{"origin": "x", "seq": null}'])
def test_without_a_memory_nothing_is_noticed_and_nothing_fails(
    bench: Bench, tmp_path: Path, damage: bytes | None
) -> None:
    put(bench, "blocked")
    if damage is not None:
        (tmp_path / NAME).write_bytes(damage)
    before = bench.read(change_feed.origin)
    restores.remember_position(bench.database, tmp_path, NOW)
    assert bench.read(change_feed.origin) == before
    assert read_position(tmp_path) == FeedPosition(before, 1)


def test_only_an_administrator_renews_the_origin(bench: Bench) -> None:
    with refusal(Reason.FORBIDDEN):
        bench.write(lambda s: restores.renew_origin(s, IDS, "x", NOW))


def test_a_snapshot_in_several_parts_is_one_document(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{label}.example.net" for label in "abcde"]
    for name in names:
        put(bench, "blocked", name=name)
    for part in (1, 2, 5, 1000):
        monkeypatch.setattr(change_feed, "SNAPSHOT_PART", part)
        assert [entry["name"] for entry in snapshot(bench)] == names
    document = json.loads(bench.read(change_feed.snapshot))
    assert list(document) == ["origin", "seq", "standing"]
    assert document["seq"] == 5


# --- keys


def test_a_key_makes_no_key_that_may_do_more(bench: Bench) -> None:
    def make(who: Principal, *scopes: Scope, **fields: Any) -> Any:
        wanted = KeyCreate(label="x", scopes=list(scopes), **fields)
        return bench.write(lambda s: api_keys.create(s, who, wanted, NOW))

    made = make(WHO, Scope.KEY_WRITE, Scope.STANDING_QUARANTINE, expires_at=NOW + HOUR)
    who = bench.read(lambda s: api_keys.authenticate(s, made.secret, NOW))
    assert who.scopes == {Scope.KEY_WRITE, Scope.STANDING_QUARANTINE}
    with refusal(Reason.FORBIDDEN):
        make(who, Scope.STANDING_WRITE)
    with refusal(Reason.FORBIDDEN):
        make(who, Scope.STANDING_QUARANTINE, expires_at=NOW + 2 * HOUR)
    assert make(who, Scope.STANDING_QUARANTINE).key.expires_at == NOW + HOUR
    for presented, now in ((made.secret, NOW + HOUR), (made.secret[:-1] + "x", NOW), ("", NOW), ("irk_x", NOW)):
        with refusal(Reason.UNAUTHENTICATED):
            bench.read(lambda s, presented=presented, now=now: api_keys.authenticate(s, presented, now))
    bench.write(lambda s: api_keys.revoke_key(s, WHO, made.key.id, NOW))
    with refusal(Reason.UNAUTHENTICATED):
        bench.read(lambda s: api_keys.authenticate(s, made.secret, NOW))


def test_a_key_of_a_node_sees_and_revokes_keys_of_this_node_only(bench: Bench) -> None:
    def make(node: str | None) -> str:
        wanted = KeyCreate(label="x", scopes=[Scope.NODE_WRITE], node=node)
        return bench.write(lambda s: api_keys.create(s, WHO, wanted, NOW)).key.id

    own, other, general = make("radius-1"), make("radius-2"), make(None)
    who = Principal("key:n1", frozenset({Scope.KEY_WRITE}), node="radius-1")
    assert bench.read(lambda s: [key.id for key in api_keys.find_keys(s, who)]) == [own]
    assert len(bench.read(lambda s: api_keys.find_keys(s, WHO))) == 3
    for identifier in (other, general):
        with refusal(Reason.NOT_FOUND):
            bench.write(lambda s, identifier=identifier: api_keys.revoke_key(s, who, identifier, NOW))
    assert bench.write(lambda s: api_keys.revoke_key(s, who, own, NOW)).revoked_at == NOW


def test_writing_a_standing_includes_quarantining(bench: Bench) -> None:
    wanted = KeyCreate(label="x", scopes=[Scope.STANDING_WRITE])
    secret = bench.write(lambda s: api_keys.create(s, WHO, wanted, NOW)).secret
    who = bench.read(lambda s: api_keys.authenticate(s, secret, NOW))
    put(bench, "quarantined", who=who)
    assert bench.write(lambda s: standings.release(s, who, CAMERA, Release(reason="ok"), NOW)).standing == "normal"
