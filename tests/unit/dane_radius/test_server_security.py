"""The settings of radiusd.conf that require Message-Authenticators, and their restoration."""

from __future__ import annotations

import pytest

from dane_radius.install.server_security import require_signatures, restore

CONF = """\
client x {
	require_message_authenticator = auto
}
security {
	#  require_message_authenticator = auto
	max_attributes = 200
	require_message_authenticator = auto
	limit_proxy_state = auto
}
listen {
	limit_proxy_state = auto
}
"""


def test_both_are_set_in_their_section_and_given_back() -> None:
    text, changed = require_signatures(CONF)
    assert changed == ["require_message_authenticator", "limit_proxy_state"]
    assert text.count(" = yes") == 2
    assert "\n\trequire_message_authenticator = yes\n\tlimit_proxy_state = yes\n}" in text
    assert require_signatures(text) == (text, [])
    assert restore(text, changed) == CONF


@pytest.mark.parametrize("value", ["no", "yes", "autumn"])
def test_what_an_operator_set_is_left(value: str) -> None:
    text = CONF.replace("limit_proxy_state = auto\n}\nlisten", f"limit_proxy_state = {value}\n}}\nlisten")
    after, changed = require_signatures(text)
    assert changed == ["require_message_authenticator"]
    assert f"limit_proxy_state = {value}\n" in after
    assert restore(after, changed) == text


def test_a_server_that_does_not_know_them_gets_none() -> None:
    for text in ("", "security {\n\tmax_attributes = 200\n}\n", "security {\n"):
        assert require_signatures(text) == (text, [])
        assert restore(text, ["limit_proxy_state"]) == text
