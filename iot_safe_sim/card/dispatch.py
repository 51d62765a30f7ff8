"""Which function executes which instruction."""

from __future__ import annotations

from collections.abc import Callable

from iot_safe_sim.card import commands
from iot_safe_sim.card.administration import store_data
from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.interface import Command, Ins, Response

Handler = Callable[[CardContent, Channel, Command], Response]

#: The commands that need a selected applet. SELECT, MANAGE CHANNEL and GET RESPONSE are the applet's own.
HANDLERS: dict[int, Handler] = {
    Ins.GET_RANDOM: commands.get_random,
    Ins.GENERATE_KEY_PAIR: commands.generate_key_pair,
    Ins.READ_PUBLIC_KEY: commands.read_public_key,
    Ins.PUT_PUBLIC_KEY_INIT: commands.put_public_key_init,
    Ins.PUT_PUBLIC_KEY_UPDATE: commands.put_public_key_update,
    Ins.COMPUTE_SIGNATURE_INIT: commands.compute_signature_init,
    Ins.COMPUTE_SIGNATURE_UPDATE: commands.compute_signature_update,
    Ins.VERIFY_SIGNATURE_INIT: commands.verify_signature_init,
    Ins.VERIFY_SIGNATURE_UPDATE: commands.verify_signature_update,
    Ins.COMPUTE_DH: commands.compute_dh,
    Ins.COMPUTE_PRF: commands.compute_prf,
    Ins.COMPUTE_HKDF: commands.compute_hkdf,
    Ins.GET_DATA: commands.get_data,
    Ins.READ_FILE: commands.read_file,
    Ins.STORE_DATA: store_data,
}
