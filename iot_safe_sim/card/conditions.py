"""What a command requires of its parameters and of an object. Each function raises AppletError when it is not met."""

from __future__ import annotations

from iot_safe_sim.card.objects import Access, AnyObject, File, Function, PrivateKey, PublicKey, Secret
from iot_safe_sim.interface import AppletError, Command, StatusWord


def require_p1_p2(command: Command, p1: int, p2: int) -> None:
    """P1 and P2 are the given ones."""
    if (command.p1, command.p2) != (p1, p2):
        raise AppletError(
            StatusWord.INCORRECT_P1_P2, f"P1 P2 {command.p1:02X}{command.p2:02X}, expected {p1:02X}{p2:02X}"
        )


def require_no_data(command: Command) -> None:
    """The command has no data."""
    if command.data:
        raise AppletError(StatusWord.WRONG_LENGTH, f"{len(command.data)} bytes of data, expected none")


def require_function(key: PrivateKey | Secret, function: Function) -> None:
    """The key may be used for `function`."""
    if not key.functions & function:
        raise AppletError(
            StatusWord.CONDITIONS_NOT_SATISFIED, f"key {key.id.hex()} may not be used for {function.name}"
        )


def require_access(item: AnyObject, access: Access) -> None:
    """A client has all rights of `access` to the object."""
    if item.access & access != access:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"object {item.id.hex()}: no {access.name} access")


def require_handle(key: PrivateKey | Secret) -> str:
    """The container holds a key. Returns the key's handle in the key store."""
    if key.handle is None:
        raise _empty(key)
    return key.handle


def require_point(key: PrivateKey | PublicKey) -> bytes:
    """The container holds a key. Returns the public point."""
    point = key.public if isinstance(key, PrivateKey) else key.point
    if point is None:
        raise _empty(key)
    return point


def require_content(file: File) -> bytes:
    """The file has content. Returns it."""
    if file.content is None:
        raise _empty(file)
    return file.content


def _empty(item: AnyObject) -> AppletError:
    return AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"container {item.id.hex()} is empty")
