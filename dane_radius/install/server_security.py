"""The settings of radiusd.conf against forged answers (CVE-2024-3596, BlastRADIUS). Text in, text out.

FreeRADIUS has them from 3.2.5 on, with the value `auto`: a client whose first request has no Message-Authenticator may
leave it out from then on. The radiusd.conf of earlier versions does not contain them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

SecurityKey = Literal["require_message_authenticator", "limit_proxy_state"]

_KEYS: tuple[SecurityKey, ...] = ("require_message_authenticator", "limit_proxy_state")
_SECTION = re.compile(r"^security\s*\{.*?^\}", re.MULTILINE | re.DOTALL)
_STOCK, _SAFE = "auto", "yes"


def require_signatures(text: str) -> tuple[str, list[SecurityKey]]:
    """A radiusd.conf that requires Message-Authenticators from all clients, and the settings that changed.

    Only `auto` is changed: the operator chose any other value.
    """
    return _set(text, _KEYS, _STOCK, _SAFE)


def restore(text: str, keys: Iterable[SecurityKey]) -> str:
    """A radiusd.conf with these settings back at `auto`, except those that were changed since."""
    return _set(text, keys, _SAFE, _STOCK)[0]


def _set(text: str, keys: Iterable[SecurityKey], old: str, new: str) -> tuple[str, list[SecurityKey]]:
    section = _SECTION.search(text)
    if section is None:
        return text, []
    body = section[0]
    changed: list[SecurityKey] = []
    for key in keys:
        body, count = re.subn(rf"^(\s*{re.escape(key)}\s*=\s*){old}\b", rf"\g<1>{new}", body, flags=re.MULTILINE)
        if count:
            changed.append(key)
    return text[: section.start()] + body + text[section.end() :], changed
