"""PUT PUBLIC KEY and READ PUBLIC KEY."""

from __future__ import annotations

from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal, key_pair


def test_a_compressed_public_key_is_taken_and_given_back_uncompressed(
    terminal: Terminal, provisioned: IoTSafeClient
) -> None:
    _peer, point = key_pair()
    compressed = bytes([2 + (point[-1] & 1)]) + point[1:33]
    assert terminal.send("00 24 0000 03 850105") == "9000"
    assert terminal.send(f"00 D8 8000 27 3425 4923 8621 {compressed.hex()}") == "9000"
    assert terminal.send("00 CD 0000 03 850105 00") == f"3445494386 41{point.hex()}9000".replace(" ", "").upper()
    # An X without a point on the curve, and first bytes that no compressed point has.
    for wrong in (b"\x02" + b"\xff" * 32, b"\x04" + point[1:33], b"\x05" + point[1:33]):
        assert terminal.send("00 24 0000 03 850105") == "9000"
        assert terminal.send(f"00 D8 8000 27 3425 4923 8621 {wrong.hex()}") == "6A80"
    assert terminal.send("00 CD 0000 03 850105 00").startswith("3445")
