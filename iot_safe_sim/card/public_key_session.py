"""A PUT PUBLIC KEY session: the public key object may arrive in several updates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iot_safe_sim.interface import TlvError, decode_public_key

#: A public key object has 71 bytes. A much longer one cannot be right, and must not fill the memory.
MAX_PUBLIC_KEY_OBJECT = 256


@dataclass(frozen=True)
class PutPublicKeySession:
    """An immutable value; `update` returns the next one. `key` identifies the container."""

    key: bytes
    received: bytes = b""
    finished: bool = False

    def update(self, data: bytes, *, last: bool) -> tuple[PutPublicKeySession, bytes]:
        """Take the data of one UPDATE. Returns the next session, and the point when `last`.

        Raises ValueError when the whole is not a public key object with a point on the curve, or too long to be one.
        """
        received = self.received + data
        if len(received) > MAX_PUBLIC_KEY_OBJECT:
            raise TlvError(f"public key object of over {MAX_PUBLIC_KEY_OBJECT} bytes")
        if not last:
            return replace(self, received=received), b""
        point = decode_public_key(received)
        return replace(self, received=b"", finished=True), point
