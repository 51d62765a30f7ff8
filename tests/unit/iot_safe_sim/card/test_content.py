"""Volatile keys, and keys that no object refers to."""

from __future__ import annotations

from dataclasses import replace

from iot_safe_sim.card import Applet
from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import key_pair


def test_volatile_keys_are_gone_after_a_reset(applet: Applet, client: IoTSafeClient) -> None:
    client.create_key(b"\x01")
    client.generate_key_pair(b"\x04")
    client.put_public_key(b"\x05", key_pair()[1])
    applet.reset()
    assert applet.store.private_keys[b"\x01"].filled
    assert not applet.store.private_keys[b"\x04"].filled
    assert not applet.store.public_keys[b"\x05"].filled
    assert applet.keys.handles() == {applet.store.private_keys[b"\x01"].handle}


def test_stray_keys_are_collected_at_start(applet: Applet) -> None:
    handle, _ = applet.keys.generate(persistent=True)
    kept, point = applet.keys.generate(persistent=True)
    key = replace(applet.store.private_keys[b"\x01"], handle=kept, public=point)
    Applet(applet.store.with_object(key), applet.keys, lambda store: None)
    assert applet.keys.handles() == {kept}
    assert handle != kept
