"""The limits in radiusd.conf: the installer raises them, and restores the old values."""

from __future__ import annotations

from pathlib import Path

import pytest

from dane_radius.install import server_limits
from dane_radius.install.server_limits import Change, max_waiting, raise_to, required, restore, threads_of

CONF = """\
max_request_time = 30
#  max_requests = 5
max_requests = 16384
log {
	# max_servers = 1
}
thread pool {
	#  max_servers = 7
	start_servers = 5
	max_servers = 32
	min_spare_servers = 3
	max_spare_servers = 10
	max_requests_per_server = 0
	auto_limit_acct = no
}
modules {
	other { max_servers = 1 }
}
"""


def test_limits_that_are_too_low_are_raised_and_nothing_else_changes() -> None:
    text, changes, missing = raise_to(CONF, required(320))
    assert missing == []
    assert changes == {
        "max_requests": Change(16384, 65536),
        "max_servers": Change(32, 320),
    }
    before, after = CONF.splitlines(), text.splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("max_requests = 16384", "max_requests = 65536"),
        ("\tmax_servers = 32", "\tmax_servers = 320"),
    ]
    assert threads_of(text) == 320
    assert raise_to(text, required(320)) == (text, {}, [])
    assert restore(text, changes) == (CONF, [])


def test_higher_limits_stay_unchanged() -> None:
    roomy = CONF.replace("max_servers = 32", "max_servers = 1000").replace("16384", "262144")
    text, changes, _ = raise_to(roomy, required(320))
    assert "max_servers" not in changes
    assert "max_requests" not in changes
    assert threads_of(text) == 1000


def test_limits_that_an_operator_changed_since_are_kept_and_named() -> None:
    text, changes, _ = raise_to(CONF, required(320))
    edited = text.replace("max_servers = 320\n\tmin", "max_servers = 64\n\tmin")
    back, left = restore(edited, changes)
    assert left == ["max_servers"]
    assert threads_of(back) == 64
    assert "max_requests = 16384" in back


@pytest.mark.parametrize("text", ["", "thread pool {\n}\n", "thread pool {\n\tmax_servers = 3", "max_servers = 32\n"])
def test_missing_settings_are_named_and_the_file_is_unchanged(text: str) -> None:
    same, changes, missing = raise_to(text, required(320))
    assert (same, changes) == (text, {})
    assert missing == list(required(320))
    assert threads_of(text) is None


def test_debians_file_has_all_settings() -> None:
    text = Path("/etc/freeradius/3.0/radiusd.conf").read_text()
    raised, changes, missing = raise_to(text, required(320))
    assert missing == []
    assert threads_of(raised) == 320
    assert restore(raised, changes) == (text, [])


def test_an_eighth_of_the_threads_is_for_requests_that_do_not_wait() -> None:
    assert [max_waiting(threads) for threads in (0, 1, 5, 32, server_limits.DEFAULT_THREADS)] == [1, 1, 4, 28, 896]
    assert required(4) == {"max_requests": 65536, "max_servers": 4}
