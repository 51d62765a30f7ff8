"""A live session, and what policy may know of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from policy import RequestFacts, ssid_of


@dataclass(frozen=True, slots=True)
class Session:
    """A live session. name: the device's name, which the Access-Accept gave the NAS as User-Name.

    started: when it began, in seconds since 1970, as accounting says; None: it does not say.
    """

    unique_id: str
    session_id: str
    name: str
    nas: str
    station: str
    called_station: str = ""
    port_type: str = ""
    started: float | None = None

    def to_json(self) -> dict[str, str | float | None]:
        """The session as the state file stores it."""
        return {field: getattr(self, field) for field in self.__slots__}

    def request_facts(self) -> RequestFacts:
        """What policy may match, as far as accounting stores it."""
        return RequestFacts(
            ssid=ssid_of(self.called_station),
            nas_address=self.nas or None,
            nas_port_type=self.port_type or None,
            calling_station_id=self.station or None,
        )
