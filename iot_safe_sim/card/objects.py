"""The objects of the applet: private keys, public keys, secrets and files. Each is an immutable value.

An object is a container that exists before anything is in it; `filled` says whether it holds something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Self, TypeVar

#: Bytes of an identifier, bytes of a label, and objects of all kinds on one card.
MAX_ID_LENGTH = 20
MAX_LABEL_LENGTH = 60
MAX_OBJECTS = 64
#: Bytes of a file's container. Clients that ignore the size of the content read this far, and expect zeros.
MIN_CONTAINER_SIZE = 2048
#: Bytes of a file's content.
MAX_FILE_SIZE = 8192

KEY_TYPE_P256_PERSISTENT = 0x13
KEY_TYPE_P256_VOLATILE = 0x14
KEY_TYPE_HMAC = 0xA0
KEY_USAGE_GENERAL = 0x01
FILE_USAGE_GENERAL = 0x01
FILE_USAGE_X509 = 0x02


class Access(IntFlag):
    """Tag 60: what a client may do with the object. Administration (STORE DATA) is not bound by it."""

    NONE = 0
    READ = 1
    UPDATE = 2


class Function(IntFlag):
    """Tag 61: what a key may be used for."""

    SIGN = 1
    GENERATE = 2
    AGREE = 4
    DERIVE = 8


@dataclass(frozen=True)
class PrivateKey:
    """A key pair. `handle` names the key in the key store, `public` is its point; both are None while it is empty."""

    id: bytes
    label: str = ""
    access: Access = Access.READ
    key_type: int = KEY_TYPE_P256_PERSISTENT
    usage: int = KEY_USAGE_GENERAL
    functions: Function = Function.SIGN
    handle: str | None = None
    public: bytes | None = None

    @property
    def volatile(self) -> bool:
        """Whether a card reset deletes the key, as it does an ephemeral TLS key."""
        return self.key_type == KEY_TYPE_P256_VOLATILE

    @property
    def filled(self) -> bool:
        """Tag 4A: an empty container is deactivated."""
        return self.handle is not None

    def emptied(self) -> Self:
        """The same container without a key."""
        return replace(self, handle=None, public=None)


@dataclass(frozen=True)
class PublicKey:
    """A peer's public key, put by a client. `point` is uncompressed (65 bytes), or None while it is empty."""

    id: bytes
    label: str = ""
    access: Access = Access.READ | Access.UPDATE
    key_type: int = KEY_TYPE_P256_PERSISTENT
    usage: int = KEY_USAGE_GENERAL
    functions: Function = Function.SIGN | Function.AGREE
    point: bytes | None = None

    @property
    def volatile(self) -> bool:
        """Whether a card reset deletes the key."""
        return self.key_type == KEY_TYPE_P256_VOLATILE

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.point is not None

    def emptied(self) -> Self:
        """The same container without a key."""
        return replace(self, point=None)


@dataclass(frozen=True)
class Secret:
    """A pre-shared secret. `handle` names it in the key store, or is None while it is empty."""

    id: bytes
    label: str = ""
    access: Access = Access.NONE
    functions: Function = Function.DERIVE
    handle: str | None = None

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.handle is not None


@dataclass(frozen=True)
class File:
    """A file. `content` is None while it is empty."""

    id: bytes
    label: str = ""
    access: Access = Access.READ
    usage: int = FILE_USAGE_GENERAL
    content: bytes | None = None

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.content is not None

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.content or b"")


AnyObject = PrivateKey | PublicKey | Secret | File
ObjectT = TypeVar("ObjectT", PrivateKey, PublicKey, Secret, File)
