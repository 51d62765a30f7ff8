"""The access that policy gives: grants, and the zones that name them."""

from __future__ import annotations

from dataclasses import dataclass

# One reply attribute: name, FreeRADIUS assignment operator, value as text. rlm_python3 accepts only plain tuples.
Attribute = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Grant:
    """The access of an admitted device. Times are seconds.

    attributes: further reply attributes, by the names of FreeRADIUS's dictionary.
    """

    vlan: int | str | None = None
    filter_id: str | None = None
    nas_filter_rules: tuple[str, ...] = ()
    session_timeout: int = 28800
    idle_timeout: int | None = None
    reauthenticate: bool = True
    class_: str | None = None
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Zone:
    """A grant with a name that policy, people and the gateway share. description: for people."""

    name: str
    description: str | None
    grant: Grant
