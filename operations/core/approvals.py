"""Questions that a household can answer: may this device join? Pure."""

from __future__ import annotations

from enum import StrEnum

from operations.core.decisions import Decision


class Answer(StrEnum):
    """always: yes, also for every other device of this maker. no: the device is blocked."""

    YES = "yes"
    NO = "no"
    ALWAYS = "always"


def place_of(network: str | None, ssid: str | None, nas: str | None) -> str | None:
    """What people call the place: the network's name in the policy, else its SSID, else its NAS; None: not known."""
    return network or ssid or nas


def worth_asking(decision: Decision, open_unproven: int, limit: int) -> bool:
    """Whether a new question is asked. Strangers can cause unproven ones: these have a limit."""
    return decision.proven or open_unproven < limit
