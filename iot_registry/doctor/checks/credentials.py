"""Checks of API keys and enrollment tokens."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from health_report import Fact, NotTried
from iot_registry.doctor.facts import ApiKeyFacts, Contents, TokenFacts
from iot_registry.doctor.findings import Check, Finding, counted, info, ok, warning
from iot_registry.service.access import Scope

_SOON = dt.timedelta(days=14)
# A key that has made no change for this long is worth a question.
_UNUSED = dt.timedelta(days=90)
_WRITING = frozenset({Scope.DEVICE_WRITE, Scope.DOMAIN_WRITE, Scope.KEY_WRITE, Scope.ADMIN})
# The audit log records changes only.
_READING = frozenset({Scope.DEVICE_READ, Scope.DOMAIN_READ, Scope.FEED_READ, Scope.AUDIT_READ})
_SHOWN = 3


def check_credentials(contents: Fact[Contents], now: dt.datetime) -> list[Finding]:
    """All checks of what administrators and devices identify themselves with."""
    if isinstance(contents, NotTried):
        return []
    keys = contents.api_keys
    return [
        _check_expiry(keys, now),
        _check_unused(keys, now),
        _check_administrators(keys, now),
        *_check_tokens(contents.tokens),
    ]


def _names(keys: Sequence[ApiKeyFacts]) -> str:
    shown = ", ".join(f"{key.id} ({key.label})" for key in keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} others"


def _is_valid(key: ApiKeyFacts, now: dt.datetime) -> bool:
    return key.expires_at is None or key.expires_at > now


def _check_expiry(keys: Sequence[ApiKeyFacts], now: dt.datetime) -> Finding:
    check = Check.KEYS_EXPIRY
    expired = [key for key in keys if not _is_valid(key, now)]
    ending = [key for key in keys if _is_valid(key, now) and key.expires_at and key.expires_at - now < _SOON]
    if ending:
        found = f"API keys that expire within {_SOON.days} days: {_names(ending)}"
        fix = "make new keys with `iot-registry key add`, and give them to their users"
        return warning(check, found, f"keys that are valid for {_SOON.days} days", fix)
    if expired:
        found = f"API keys that have expired: {_names(expired)}"
        return info(check, found, "", "run `iot-registry key revoke ID` for those that nobody renews")
    return ok(check, f"{counted(len(keys), 'API key')}, none of which expires within {_SOON.days} days")


def _check_unused(keys: Sequence[ApiKeyFacts], now: dt.datetime) -> Finding:
    check = Check.KEYS_UNUSED
    unused = [
        key
        for key in keys
        if _is_valid(key, now)
        and key.scopes & _WRITING
        and not (key.scopes & _READING)
        and now - (key.last_change or key.created_at) > _UNUSED
    ]
    if not unused:
        return ok(check, f"no key that only makes changes has been unused for {_UNUSED.days} days")
    found = f"API keys without a change for {_UNUSED.days} days: {_names(unused)}"
    return info(check, found, "", "ask their users, and run `iot-registry key revoke ID` for those that are not needed")


def _check_administrators(keys: Sequence[ApiKeyFacts], now: dt.datetime) -> Finding:
    check = Check.KEYS_ADMINISTRATORS
    admins = [key for key in keys if _is_valid(key, now) and Scope.ADMIN in key.scopes]
    if not admins:
        return ok(check, "no API key has the scope admin; the registry is administered on its own machine")
    found = f"API keys with the scope admin: {_names(admins)}"
    lasting = [key for key in admins if key.expires_at is None]
    if lasting:
        fix = "make keys with fewer scopes and --days, and revoke those that are not needed"
        return info(check, f"{found}; without an expiry: {len(lasting)}", "keys that expire", fix)
    return ok(check, found)


def _check_tokens(tokens: TokenFacts) -> list[Finding]:
    found = f"open enrollment tokens: {tokens.open}"
    if tokens.next_expiry is not None:
        found += f", the first expires on {tokens.next_expiry:%Y-%m-%d %H:%M}Z"
    findings = [ok(Check.TOKENS_OPEN, found)]
    if not tokens.stranded_count:
        return [
            *findings,
            ok(Check.TOKENS_EXPIRED, "each device without a certificate has a valid token, or never had one"),
        ]
    found = (
        f"{counted(tokens.stranded_count, 'device')} without a certificate and without a valid token, "
        f"such as {tokens.stranded[0]}: no enrollment is possible"
    )
    fix = "run `iot-registry token NAME` for each device that is still needed"
    return [*findings, warning(Check.TOKENS_EXPIRED, found, "a token that is valid", fix)]
