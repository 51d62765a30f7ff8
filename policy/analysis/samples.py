"""Names and requests that a policy is likely to tell apart: to compare two policies by what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from policy.analysis.document import Document
from policy.analysis.networks import request_from
from policy.facts import RequestFacts
from policy.matching.policy import Policy

# Enough to meet every rule of a policy that people write, and still compared in seconds.
MAX_NAMES = 2_000
MAX_PLACES = 50


class Place(NamedTuple):
    """A request, and what to call it."""

    name: str
    request: RequestFacts


def sample_names(*policies: Policy, also: Iterable[str] = ()) -> list[str]:
    """Names that the patterns and domains of the policies cover, and those of their example cases."""

    def names() -> Iterator[str]:
        for policy in policies:
            for case in policy.tests:
                yield case.device
        yield from also
        for policy in policies:
            for rule in policy.rules:
                for pattern in rule.patterns:
                    yield from _names_of(pattern)
                for domain in rule.domains:
                    yield f"sample.{domain}" if domain.startswith("_") else f"sample._device.{domain}"
            for quarantined in policy.quarantine:
                yield from _names_of(quarantined.text)

    return list(islice(dict.fromkeys(names()), MAX_NAMES))


def _names_of(pattern: str) -> Iterator[str]:
    """Names that a pattern matches, and one above it that it does not."""
    labels = pattern.split(".")
    for text, deep in (("a1", "a1"), ("", "a1.b2")):
        name = ".".join(
            deep if label == "**" else (text or "b2") if label == "*" else label.replace("*", text) for label in labels
        )
        yield name
    if "*" in labels[0] and len(labels) > 3:
        yield ".".join(["z9", *labels[1:]]).replace("*", "z9")


def sample_places(*policies: tuple[Policy, Document]) -> list[Place]:
    """A request from each network of the policies, one from elsewhere, and those of their example cases."""
    found: dict[RequestFacts, str] = {RequestFacts(): "a place of which nothing is known"}
    for policy, document in policies:
        networks = {network.name: network for rule in policy.rules for network in rule.networks or ()}
        for name, network in networks.items():
            request = request_from(network, document.get("networks", name, default={}))
            if request is not None:
                found.setdefault(request, f"network {name}")
    return [Place(name, request) for request, name in islice(found.items(), MAX_PLACES)]
