"""Resumed TLS sessions: which certificate each was for, and where that stands.

A resumed handshake shows no certificate; the one of the full handshake is still in its session file, and the decision
is made on it anew (RFC 9190 section 5.7). An accepted session keeps a text that leads there; FreeRADIUS stores it as
Cached-Session-Policy.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, deque

from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.server.session_file import read_session_file

_STORED = re.compile(r"dane1 ([0-9a-f]{64}) (/\S+)\Z")
# Devices whose newest session file is known; those of the others go by their age.
_MAX_SESSIONS = 16_384
_MAX_SPENT = 4096


def encode_stored(leaf_fingerprint: str, path: str) -> str:
    """What an accepted session keeps."""
    return f"dane1 {leaf_fingerprint} {path}"


def read_resumed(stored: str, *, directory: str | None = None) -> bytes:
    """The leaf certificate of a resumed session, from what `encode_stored` left with it.

    Raises Refused: `resumption_data_missing` when the file is gone, `resumption_data_invalid` for anything that does
    not verify.
    """
    match = _STORED.match(stored)
    if not match:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"the session carries {stored[:40]!r}, which is not ours")
    fingerprint, path = match.groups()
    try:
        leaf = read_session_file(path, directory=directory)
    except Refused as refusal:
        gone = refusal.code is ReasonCode.SESSION_FILE_MISSING
        code = ReasonCode.RESUMPTION_DATA_MISSING if gone else ReasonCode.RESUMPTION_DATA_INVALID
        raise Refused(code, refusal.detail) from refusal
    if hashlib.sha256(leaf).hexdigest() != fingerprint:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"{path} holds another certificate than the session was for")
    return leaf


class ResumableSessions:
    """The newest session file of each device, by its certificate.

    The one before is of no use to the device any more; `take_spent` hands it over for removal, off the path.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[str, str] = OrderedDict()
        self._spent: deque[str] = deque(maxlen=_MAX_SPENT)

    def keep(self, leaf_fingerprint: str, path: str) -> str:
        """Note an accepted session, and give what it must keep."""
        previous = self._newest.pop(leaf_fingerprint, path)
        self._newest[leaf_fingerprint] = path
        if previous != path:
            self._spent.append(previous)
        if len(self._newest) > _MAX_SESSIONS:
            self._newest.popitem(last=False)
        return encode_stored(leaf_fingerprint, path)

    def take_spent(self) -> list[str]:
        """Session files that no device can resume any more, each given out once."""
        return [self._spent.popleft() for _ in range(len(self._spent))]
