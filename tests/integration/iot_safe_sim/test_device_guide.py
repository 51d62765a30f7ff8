"""The program in docs/device.md does what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509

from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, SerialTransport
from tests.harness.process import Daemon

GUIDE = Path(__file__).parents[3] / "docs" / "device.md"


def test_request_from_a_card_with_a_key(start_modem: Callable[..., tuple[Daemon, str]], tmp_path: Path) -> None:
    _, path = start_modem(tmp_path / "state", "--key-store", "softhsm")
    with SerialTransport(path) as port:
        IoTSafeClient(port).create_key(containers.DEVICE_KEY)
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "/tmp/sim0" in program
    names: dict[str, Any] = {}
    exec(program.replace("/tmp/sim0", path), names)  # noqa: S102  # our own documentation
    request = x509.load_der_x509_csr(names["request"])
    assert request.is_signature_valid
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == [names["NAME"]]
