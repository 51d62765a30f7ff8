"""GET RANDOM."""

from __future__ import annotations

import os

from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.conditions import require_p1_p2
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.interface import AppletError, Command, Response, StatusWord


def get_random(content: CardContent, channel: Channel, command: Command) -> Response:
    """Exactly Le random bytes."""
    require_p1_p2(command, 0, 0)
    if command.data or command.le is None:
        raise AppletError(StatusWord.WRONG_LENGTH, "GET RANDOM has Le and no data")
    return Response(os.urandom(command.wanted))
