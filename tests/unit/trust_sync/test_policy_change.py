"""A changed policy ends or moves live sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from dane_radius.core import Secure
from policy import parse_policy
from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.sessions_setting import GONE, ONE, Setting, policy
from trust_sync.sessions import Access


@pytest.mark.parametrize(
    ("grant", "coa", "replies", "codes"),
    [
        ("grant: {vlan: 1}", False, [None], []),
        ("grant: {vlan: 2}", False, [None], [40]),
        ("deny: true", True, [None], [40]),
        ("grant: {vlan: 2}", True, [None], [43]),
        ("grant: {vlan: 2, filter_id: x, session_timeout: 1h}", True, [None], [43]),
        # A CoA-Request cannot take back a VLAN, nor change what it does not carry.
        ("grant: {filter_id: x}", True, [None], [40]),
        ("grant: {vlan: 2, idle_timeout: 1h}", True, [None], [40]),
        # A NAS that is configured for CoA, but refuses it (hostapd: 402 or 405).
        ("grant: {vlan: 2}", True, [405, None], [43, 40]),
    ],
)
async def test_a_changed_policy_moves_or_ends_sessions(
    tmp_path: Path, grant: str, coa: bool, replies: list[int | None], codes: list[int]
) -> None:
    with Nas(replies) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), coa=coa)
        setting.session()
        await setting.step()
        old, setting.policy = setting.policy, parse_policy(policy(grant))
        await setting.service.policy_changed(old, setting.policy)
        await setting.service.settle()
        assert [request[0] for request in nas.requests] == codes
        assert setting.state.sessions.pending == {}


async def test_a_session_that_was_moved_can_still_be_ended(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE, coa=True)
        setting.session()
        await setting.step()
        one, two = (parse_policy(policy(f"grant: {{vlan: {n}}}")) for n in (1, 2))
        await setting.service.policy_changed(one, two)
        await setting.service.settle()
        await setting.revoked()
        await setting.service.settle()
        assert [request[0] for request in nas.requests] == [43, 40]


@pytest.mark.parametrize("revoked", [True, False])
async def test_what_changes_while_a_move_is_not_answered_is_what_counts(tmp_path: Path, revoked: bool) -> None:
    with Nas([None], drop=1) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE, coa=True)
        setting.session()
        await setting.step()
        one, two, three = (parse_policy(policy(f"grant: {{vlan: {n}}}")) for n in (1, 2, 3))
        await setting.service.policy_changed(one, two)
        await setting.service.settle()
        (pending,) = setting.state.sessions.pending.values()
        assert pending.access == Access("2")
        if revoked:
            await setting.revoked()
        else:
            await setting.service.policy_changed(two, three)
        await setting.service.settle()
        await setting.step(6)
        # A CoA-Request with Tunnel-Private-Group-Id (81) and tag 0, or a Disconnect-Request.
        assert (nas.requests[-1][0], b"\x51\x04\x003" in nas.requests[-1]) == ((40, False) if revoked else (43, True))
        assert setting.state.sessions.pending == {}


@pytest.mark.parametrize("mode", ["rule", "global"])
async def test_what_policy_only_monitors_is_not_ended(tmp_path: Path, mode: str) -> None:
    """The module admits such a device whatever the DNS says. Ending its session would cause a loop."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        text = policy("grant: {vlan: 1}, mode: monitor") if mode == "rule" else policy("grant: {vlan: 1}")
        setting.policy = parse_policy(text if mode == "rule" else b"mode: monitor\n" + text)
        setting.session()
        for _ in range(3):
            await setting.step(61)
        assert setting.answers.asked == 3
        assert nas.requests == []
        # The same name, once the rule is enforced.
        setting.policy = parse_policy(policy("grant: {vlan: 1}"))
        await setting.step(61)
        assert len(nas.requests) == 1


async def test_a_domain_that_policy_drops_loses_its_sessions(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60))
        setting.session()
        await setting.step()
        old, setting.policy = setting.policy, parse_policy(policy("grant: {vlan: 1}").replace(b".net", b".org"))
        await setting.service.policy_changed(old, setting.policy)
        await setting.service.settle()
        assert [request[0] for request in nas.requests] == [40]
