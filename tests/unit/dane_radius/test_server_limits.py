"""What the installer changes in radiusd.conf, and that it gives back what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from dane_radius.install import server_limits
from dane_radius.install.server_limits import Change, places, put_back, raise_to, threads_of, wanted

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


def test_what_is_too_low_is_raised_and_nothing_else_changes() -> None:
    text, changes, missing = raise_to(CONF, wanted(320))
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
    assert raise_to(text, wanted(320)) == (text, {}, [])
    assert put_back(text, changes) == (CONF, [])


def test_what_is_higher_already_stays() -> None:
    roomy = CONF.replace("max_servers = 32", "max_servers = 1000").replace("16384", "262144")
    text, changes, _ = raise_to(roomy, wanted(320))
    assert "max_servers" not in changes
    assert "max_requests" not in changes
    assert threads_of(text) == 1000


def test_what_an_operator_changed_since_is_left_and_named() -> None:
    text, changes, _ = raise_to(CONF, wanted(320))
    edited = text.replace("max_servers = 320\n\tmin", "max_servers = 64\n\tmin")
    back, left = put_back(edited, changes)
    assert left == ["max_servers"]
    assert threads_of(back) == 64
    assert "max_requests = 16384" in back


@pytest.mark.parametrize("text", ["", "thread pool {\n}\n", "thread pool {\n\tmax_servers = 3", "max_servers = 32\n"])
def test_a_file_without_the_settings_is_left_alone_and_they_are_named(text: str) -> None:
    same, changes, missing = raise_to(text, wanted(320))
    assert (same, changes) == (text, {})
    assert missing == list(wanted(320))
    assert threads_of(text) is None


def test_debians_own_file_has_them_all() -> None:
    text = Path("/etc/freeradius/3.0/radiusd.conf").read_text()
    raised, changes, missing = raise_to(text, wanted(320))
    assert missing == []
    assert threads_of(raised) == 320
    assert put_back(raised, changes) == (text, [])


def test_requests_that_wait_leave_an_eighth_of_the_threads() -> None:
    assert [places(threads) for threads in (0, 1, 5, 32, server_limits.DEFAULT_THREADS)] == [1, 1, 4, 28, 896]
    assert wanted(4) == {"max_requests": 65536, "max_servers": 4}
