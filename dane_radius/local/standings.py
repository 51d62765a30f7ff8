"""What is known of the standing of devices, in memory, for a million devices as for ten. No I/O.

Entries are integers in many small dictionaries. The garbage collector does not traverse such dictionaries, and none of
them is ever so large that its growth delays an authentication.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from dane_radius.core.names import identity_domain
from dane_radius.local.standing_journal import RANK, STRICTNESS, Entry
from policy import DeviceStanding, Standing

_SHARDS = 1024
# Bits of a packed entry: standing, then, approved, kept, zone (its number plus one), `until` in milliseconds, and the
# zone that belongs to `then`.
_THEN, _APPROVED, _KEPT, _ZONE, _UNTIL, _THEN_ZONE = 3, 6, 7, 8, 32, 76
_STANDING_MASK, _ZONE_MASK = 0b111, (1 << (_UNTIL - _ZONE)) - 1
_UNTIL_MASK = (1 << (_THEN_ZONE - _UNTIL)) - 1


class Standings:
    """The current entries of devices and makers. `of` may be called while another thread applies entries."""

    def __init__(self) -> None:
        self._devices: list[dict[str, int]] = [{} for _ in range(_SHARDS)]
        self._makers: dict[str, int] = {}
        self._zones: list[str] = []
        self._zone_numbers: dict[str, int] = {}
        self._counts = dict.fromkeys(Standing, 0)
        self._approved = self._kept = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def makers(self) -> int:
        """The number of makers with an entry."""
        return len(self._makers)

    @property
    def approved(self) -> int:
        """The number of approved devices, apart from those of approved makers."""
        return self._approved

    @property
    def kept(self) -> int:
        """The number of entries that only an earlier service has said."""
        return self._kept

    @property
    def counts(self) -> dict[Standing, int]:
        """The number of devices by their standing. One whose time is over still counts, until its entry is replaced."""
        return dict(self._counts)

    def apply(self, entry: Entry) -> bool:
        """Put an entry in force. Returns whether that changed anything."""
        entries = self._makers if entry.maker else self._devices[hash(entry.name) % _SHARDS]
        before = entries.get(entry.name)
        if entry.is_plain:
            if before is None:
                return False
            del entries[entry.name]
            self._count(before, -1, maker=entry.maker)
            return True
        packed = self._pack(entry)
        if packed == before:
            return False
        entries[entry.name] = packed
        if before is not None:
            self._count(before, -1, maker=entry.maker)
        self._count(packed, 1, maker=entry.maker)
        return True

    def _count(self, packed: int, step: int, *, maker: bool) -> None:
        self._length += step
        self._kept += step * (packed >> _KEPT & 1)
        if not maker:
            self._counts[STRICTNESS[packed & _STANDING_MASK]] += step
            self._approved += step * (packed >> _APPROVED & 1)

    def _pack(self, entry: Entry) -> int:
        until = 0 if entry.until is None else max(1, math.ceil(entry.until * 1000))
        return (
            RANK[entry.standing]
            | RANK[entry.then] << _THEN
            | entry.approved << _APPROVED
            | entry.kept << _KEPT
            | self._number(entry.zone) << _ZONE
            | until << _UNTIL
            | self._number(entry.then_zone) << _THEN_ZONE
        )

    def _number(self, zone: str | None) -> int:
        if zone is None:
            return 0
        number = self._zone_numbers.get(zone, 0)
        if not number:
            self._zones.append(zone)
            number = self._zone_numbers[zone] = len(self._zones)
        return number

    def _zone(self, packed: int) -> str | None:
        number = packed >> _ZONE & _ZONE_MASK
        return self._zones[number - 1] if number else None

    def _then_zone(self, packed: int) -> str | None:
        number = packed >> _THEN_ZONE
        return self._zones[number - 1] if number else None

    def of(self, name: str, now: float) -> DeviceStanding | None:
        """What counts for a normalized name at `now` (seconds since 1970). None: nothing is known of it.

        The stricter standing of the device and of its maker counts. It is approved if either is.
        """
        packed = self._devices[hash(name) % _SHARDS].get(name)
        own = None if packed is None else self._current(packed, now)
        if not self._makers:
            return own
        for domain in maker_domains(name):
            packed = self._makers.get(domain)
            if packed is not None:
                own = combined(own, self._current(packed, now))
        return own

    def _current(self, packed: int, now: float) -> DeviceStanding:
        until = packed >> _UNTIL & _UNTIL_MASK
        if until and now * 1000 >= until:
            return _after(packed & ((1 << _ZONE) - 1), self._then_zone(packed))
        return _unpack(packed, self._zone(packed))

    def entry(self, name: str, *, maker: bool) -> Entry | None:
        """The entry of a device or a maker. None: there is none."""
        packed = (self._makers if maker else self._devices[hash(name) % _SHARDS]).get(name)
        return None if packed is None else self._entry(name, packed, maker=maker)

    def _entry(self, name: str, packed: int, *, maker: bool) -> Entry:
        until = packed >> _UNTIL & _UNTIL_MASK
        return Entry(
            name,
            maker,
            STRICTNESS[packed & _STANDING_MASK],
            bool(packed >> _APPROVED & 1),
            self._zone(packed),
            until / 1000 if until else None,
            STRICTNESS[packed >> _THEN & _STANDING_MASK],
            kept=bool(packed >> _KEPT & 1),
            then_zone=self._then_zone(packed),
        )

    def entries(self) -> Iterator[Entry]:
        """Every entry. Entries may be applied meanwhile: the iterator returns their old or their new state."""
        for name, packed in list(self._makers.items()):
            yield self._entry(name, packed, maker=True)
        for shard in self._devices:
            for name, packed in list(shard.items()):
                yield self._entry(name, packed, maker=False)


@lru_cache(maxsize=4096)
def _unpack(packed: int, zone: str | None) -> DeviceStanding:
    until = packed >> _UNTIL & _UNTIL_MASK
    return DeviceStanding(
        STRICTNESS[packed & _STANDING_MASK],
        bool(packed >> _APPROVED & 1),
        zone,
        until / 1000 if until else None,
    )


@lru_cache(maxsize=1024)
def _after(packed: int, zone: str | None) -> DeviceStanding:
    """What counts once `until` has passed."""
    return DeviceStanding(STRICTNESS[packed >> _THEN & _STANDING_MASK], bool(packed >> _APPROVED & 1), zone)


def maker_domains(name: str) -> tuple[str, ...]:
    """The names that an entry of a device's maker may have: its identity domain, and the organization's domain.

    For `a1.camera._device.example.net`, these are `_device.example.net` and `example.net`.
    """
    domain = identity_domain(name)
    return (domain, domain.partition(".")[2]) if domain.startswith("_") else (domain,)


def standing_now(entry: Entry | None, now: float) -> DeviceStanding | None:
    """What an entry says at `now` (seconds since 1970)."""
    if entry is None or entry.is_plain:
        return None
    if entry.until is not None and now >= entry.until:
        return DeviceStanding(entry.then, entry.approved, entry.then_zone)
    return DeviceStanding(entry.standing, entry.approved, entry.zone, entry.until)


def combined(own: DeviceStanding | None, makers: DeviceStanding | None) -> DeviceStanding | None:
    """What counts for a device, from what is said of it and of its maker: the stricter standing, and any approval."""
    if own is None or makers is None:
        return makers if own is None else own
    stricter = makers if RANK[makers.standing] > RANK[own.standing] else own
    ends = [until for until in (own.until, makers.until) if until is not None]
    return DeviceStanding(
        stricter.standing, own.approved or makers.approved, stricter.zone, min(ends) if ends else None
    )


class EarlierStandings:
    """The standings before a change: remembers the entries that the change replaces."""

    def __init__(self, standings: Standings) -> None:
        self._standings = standings
        self._replaced: dict[tuple[bool, str], Entry | None] = {}

    def remember(self, name: str, *, maker: bool) -> None:
        """Remember the present entry. To be called before another is applied."""
        if (maker, name) not in self._replaced:
            self._replaced[maker, name] = self._standings.entry(name, maker=maker)

    def of(self, name: str, now: float) -> DeviceStanding | None:
        """What counted for a device, as `Standings.of` would have said."""
        own = self._current(name, now, maker=False)
        for domain in maker_domains(name):
            own = combined(own, self._current(domain, now, maker=True))
        return own

    def _current(self, name: str, now: float, *, maker: bool) -> DeviceStanding | None:
        if (maker, name) in self._replaced:
            entry = self._replaced[maker, name]
            if entry is not None and entry.until is not None and entry.until <= now:
                # It counted until it was replaced, also if its time had come by then: sessions were admitted by it.
                entry = entry._replace(until=None)
            return standing_now(entry, now)
        return standing_now(self._standings.entry(name, maker=maker), now)
