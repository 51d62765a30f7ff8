"""Sends Disconnect-Requests and CoA-Requests to the NASes of sessions."""

from __future__ import annotations

from collections.abc import Callable

from pyrad.packet import CoARequest, DisconnectRequest

from trust_sync.sessions.access import Access
from trust_sync.sessions.nas_directory import Nas, NasDirectory
from trust_sync.sessions.nas_socket import NasSocket
from trust_sync.sessions.radius import Reply, Result, build_request, identifications, read_reply
from trust_sync.sessions.session import Session

# Error-Causes after which the session is identified in another way.
_NOT_IDENTIFIED = frozenset({401, 402, 403, 404, 407, 508})


class Disconnector:
    """Ends sessions, or changes their access. wall: seconds since 1970, for Event-Timestamp.

    The caller limits the number of concurrent requests. One NAS cannot have more than 256. on_silence: called with the
    NAS's address after each transmission that was not answered in time.
    """

    def __init__(self, directory: NasDirectory, timeout: float, tries: int, wall: Callable[[], float]) -> None:
        self.directory = directory
        self._timeout, self._tries, self._wall = timeout, tries, wall
        self._sockets: dict[tuple[str, int], NasSocket] = {}
        self.on_silence: Callable[[str], None] = lambda nas: None

    async def end(self, session: Session) -> Reply:
        """Send a Disconnect-Request to the session's NAS. Never raises."""
        return await self._request(DisconnectRequest, session, None)

    async def move(self, session: Session, access: Access) -> Reply:
        """Send a CoA-Request for other access to the session's NAS. Never raises."""
        return await self._request(CoARequest, session, access)

    async def _request(self, code: int, session: Session, access: Access | None) -> Reply:
        nas = self.directory.find(session.nas)
        if nas is None:
            return Reply(Result.UNKNOWN_NAS, detail=f"no secret is configured for NAS {session.nas}")
        reply = Reply(Result.ERROR, detail="the session has neither Acct-Session-Id nor Calling-Station-Id")
        for attributes in identifications(session):
            try:
                reply = await self._exchange(code, attributes, session.nas, nas, access)
            except OSError as error:
                reply = Reply(Result.SILENT, detail=f"{session.nas}: {error.strerror or error}")
            except ValueError as error:
                reply = Reply(Result.ERROR, detail=str(error))
            if reply.result is not Result.NAK or reply.error_cause not in _NOT_IDENTIFIED:
                break
        return reply

    async def _exchange(
        self, code: int, attributes: dict[str, str], address: str, nas: Nas, access: Access | None
    ) -> Reply:
        """Send one request. Raises OSError, and ValueError for a request that cannot be encoded."""
        key = address, nas.port
        nas_socket = self._sockets.get(key)
        if nas_socket is None:
            nas_socket = self._sockets[key] = NasSocket(*key)
        nas_socket.users += 1
        identifier: int | None = None
        try:
            identifier = nas_socket.reserve_identifier()
            request = build_request(code, attributes, nas.secret, int(self._wall()), access, identifier=identifier)
            octets = await nas_socket.exchange(request, self._timeout, self._tries, lambda: self.on_silence(address))
        finally:
            if identifier is not None:
                nas_socket.release_identifier(identifier)
            nas_socket.users -= 1
            if not nas_socket.users:
                del self._sockets[key]
                nas_socket.close()
        if octets is None:
            detail = f"no answer from {address} port {nas.port} to {self._tries} transmissions"
            return Reply(Result.SILENT, detail=detail)
        return read_reply(octets)
