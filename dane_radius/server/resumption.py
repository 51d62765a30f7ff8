"""Resumed TLS sessions, and the certificates that they were established with.

A resumed handshake contains no certificate. The session file of the full handshake still does, and a new decision is
made about that certificate (RFC 9190 section 5.7). FreeRADIUS stores a reference to the file with each accepted
session, as Cached-Session-Policy.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, deque

from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.server.session_file import read_session_file

_REFERENCE = re.compile(r"dane1 ([0-9a-f]{64}) (/\S+)\Z")
# Devices whose newest session file is known. The session files of other devices are removed by age.
_MAX_SESSIONS = 16_384
_MAX_SUPERSEDED = 4096


def encode_reference(leaf_fingerprint: str, path: str) -> str:
    """The text that FreeRADIUS stores with an accepted session."""
    return f"dane1 {leaf_fingerprint} {path}"


def read_resumed(reference: str, *, directory: str | None = None) -> bytes:
    """The leaf certificate of a resumed session. `reference` is what `encode_reference` returned for the session.

    Raises Refused: `resumption_data_missing` if the session file no longer exists, `resumption_data_invalid` if the
    reference, the file or its certificate is not as expected.
    """
    match = _REFERENCE.match(reference)
    if not match:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"the session carries {reference[:40]!r}, which is not ours")
    fingerprint, path = match.groups()
    try:
        leaf = read_session_file(path, directory=directory)
    except Refused as refusal:
        missing = refusal.code is ReasonCode.SESSION_FILE_MISSING
        code = ReasonCode.RESUMPTION_DATA_MISSING if missing else ReasonCode.RESUMPTION_DATA_INVALID
        raise Refused(code, refusal.detail) from refusal
    if hashlib.sha256(leaf).hexdigest() != fingerprint:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"{path} holds another certificate than the session was for")
    return leaf


class ResumableSessions:
    """The newest session file of each device, by the fingerprint of its certificate.

    A device resumes its newest session only. `take_superseded` returns the older files, which housekeeping removes.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[str, str] = OrderedDict()
        self._superseded: deque[str] = deque(maxlen=_MAX_SUPERSEDED)

    def add(self, leaf_fingerprint: str, path: str) -> str:
        """Record an accepted session. Returns the reference to store with it."""
        previous = self._newest.pop(leaf_fingerprint, path)
        self._newest[leaf_fingerprint] = path
        if previous != path:
            self._superseded.append(previous)
        if len(self._newest) > _MAX_SESSIONS:
            self._newest.popitem(last=False)
        return encode_reference(leaf_fingerprint, path)

    def take_superseded(self) -> list[str]:
        """The session files that were superseded since the last call."""
        return [self._superseded.popleft() for _ in range(len(self._superseded))]
