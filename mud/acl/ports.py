"""Sets of TCP or UDP ports, as sorted ranges that neither overlap nor touch."""

from __future__ import annotations

from collections.abc import Iterable

# Inclusive ranges.
PortSet = tuple[tuple[int, int], ...]

ALL_PORTS: PortSet = ((0, 65535),)


def port_set(ranges: Iterable[tuple[int, int]]) -> PortSet:
    """The ports of inclusive ranges. A range whose end is below its start is empty."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def by_operator(operator: str, port: int) -> PortSet:
    """The ports that an operator of RFC 8519 describes: eq, neq, lte or gte."""
    match operator:
        case "eq":
            return ((port, port),)
        case "neq":
            return port_set([(0, port - 1), (port + 1, 65535)])
        case "lte":
            return ((0, port),)
        case "gte":
            return ((port, 65535),)
    raise ValueError(f"{operator!r} is no operator")


def contains(ports: PortSet, port: int) -> bool:
    return any(low <= port <= high for low, high in ports)


def is_subset(inner: PortSet, outer: PortSet) -> bool:
    return all(any(low <= start and end <= high for low, high in outer) for start, end in inner)


def overlap(one: PortSet, other: PortSet) -> bool:
    return any(low <= end and start <= high for low, high in one for start, end in other)


def in_words(ports: PortSet) -> str:
    """As in `port 443` or `ports 80, 8000 to 8080`."""
    parts = [str(low) if low == high else f"{low} to {high}" for low, high in ports]
    single = len(ports) == 1 and ports[0][0] == ports[0][1]
    return f"port{'' if single else 's'} {', '.join(parts) or '(none)'}"
