"""P1 and P2 of the commands that work in sessions: open, close, update, last update, session number."""

from __future__ import annotations

from typing import TypeVar

from iot_safe_sim.card.conditions import require_no_data
from iot_safe_sim.card.discovery import MAX_SESSIONS
from iot_safe_sim.card.public_key_session import PutPublicKeySession
from iot_safe_sim.card.signature_session import SignatureSession
from iot_safe_sim.interface import AppletError, Command, StatusWord

SessionT = TypeVar("SessionT", SignatureSession, PutPublicKeySession)
_P1_OPEN, _P1_CLOSE = 0x00, 0x01
_P1_MORE, _P1_LAST = 0x00, 0x80


def closes_session(command: Command, sessions: dict[int, SessionT]) -> bool:
    """For an INIT command: False when it opens a session; True when it closes one, which is done here."""
    _require_session_number(command)
    if command.p1 == _P1_OPEN:
        return False
    if command.p1 != _P1_CLOSE:
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00 (open) or 01 (close)")
    require_no_data(command)
    if sessions.pop(command.p2, None) is None:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"session {command.p2} is not open")
    return True


def open_session(sessions: dict[int, SessionT], command: Command) -> SessionT:
    """For an UPDATE command: its session. Raises AppletError when it is not open or already finished."""
    _require_session_number(command)
    session = sessions.get(command.p2)
    if session is None or session.finished:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"session {command.p2} was not opened")
    return session


def is_last(command: Command) -> bool:
    """For an UPDATE command: whether it is the last of its session."""
    if command.p1 not in (_P1_MORE, _P1_LAST):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00 or 80 (last)")
    return command.p1 == _P1_LAST


def _require_session_number(command: Command) -> None:
    if command.p2 >= MAX_SESSIONS:
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"session {command.p2}: expected 0 to {MAX_SESSIONS - 1}")
