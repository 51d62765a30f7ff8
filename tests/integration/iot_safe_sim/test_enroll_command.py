"""The command `iot-safe-sim enroll`: its options, its reports, and a card behind a modem."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    FAILURES,
    BundleError,
    EnrollmentError,
    EstError,
    HttpsError,
    ProvisioningError,
    RefusedError,
)
from iot_safe_sim.keystore import KEY_STORE_NAMES
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.harness.process import Daemon
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import NAME, command, identity_faults


@pytest.mark.parametrize("key_store", KEY_STORE_NAMES)
def test_command_enrolls_and_reports(est: EstServer, tmp_path: Path, key_store: str) -> None:
    bundle, state = est.bundle(NAME), tmp_path / "state"
    done = command(
        "enroll", "--state", state, "--key-store", key_store, "--bundle", "-", "--no-wait-dns", "--json",
        stdin=bundle.encode(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["name"], result["tlsa"]) == ("enrolled", NAME, None)
    assert "made on the card" in done.stderr
    (request,) = est.requests
    assert (
        request.authorization
        == "Basic " + base64.b64encode(f"{NAME}:{bundle.token.get_secret_value()}".encode()).decode()
    )
    with Card(state) as card:
        assert identity_faults(IoTSafeClient(MemoryTransport(card.applet))) == []
    shown = json.loads(command("status", "--state", state, "--json").stdout)
    assert shown["key_store"] == key_store
    assert shown["certificate"]["name"] == NAME
    assert shown["certificate"]["key_matches"] is True
    # The one-time token is stored nowhere.
    secret = bundle.token.get_secret_value().encode()
    assert not [path for path in state.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert secret.decode() not in done.stdout + done.stderr


def test_command_with_separate_values(est: EstServer, tmp_path: Path) -> None:
    bundle = est.bundle(NAME)
    (tmp_path / "ca.pem").write_text(bundle.ca)
    (tmp_path / "token").write_text(bundle.token.get_secret_value() + "\n")
    common = ("--registry", est.url, "--name", NAME, "--ca", tmp_path / "ca.pem", "--no-wait-dns")
    state = ("--state", tmp_path / "state", "--key-store", "software")
    done = command("enroll", *state, *common, "--token", f"@{tmp_path / 'token'}")
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: enrolled" in done.stdout


def test_command_through_a_modem(
    est: EstServer, tmp_path: Path, start_modem: Callable[..., tuple[Daemon, str]]
) -> None:
    """The same over a serial port, as with a real card: enroll, then renew with TLS signed over the port."""
    _, port = start_modem(tmp_path / "state", "--key-store", "softhsm")
    done = command("enroll", "--port", port, "--bundle", est.bundle(NAME).encode(), "--no-wait-dns")
    assert done.returncode == 0, done.stderr
    done = command("enroll", "--port", port, "--renew", "--no-wait-dns")
    assert done.returncode == 0, done.stderr
    assert est.requests[-1].path.endswith("simplereenroll")
    assert est.requests[-1].client_certificate == f"(('DNS', '{NAME}'),)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--state", "x"], "either --bundle, or --registry"),
        (["--bundle", "x"], "either --state or --port"),
        (["--state", "x", "--port", "y", "--bundle", "x"], "either --state or --port"),
        (["--state", "x", "--bundle", "x", "--token", "t"], "either --bundle, or --registry"),
        (["--state", "x", "--bundle", "x", "--within", "3"], "belong to --renew"),
        (["--state", "x", "--bundle", "x", "--count", "3"], "belongs to --bundles"),
        (["--state", "x", "--bundle", "iotreg1.x", "--resolver", "localhost"], "expected ADDRESS"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    done = command("enroll", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_renewal_of_nothing(tmp_path: Path) -> None:
    done = command("enroll", "--state", tmp_path / "state", "--key-store", "software", "--renew")
    assert done.returncode == 1
    assert "not enrolled: enroll it with a bundle first" in done.stderr


def test_every_error_is_one_that_the_command_reports() -> None:
    """None of these errors ends in a traceback."""
    for error in (BundleError, EnrollmentError, EstError, HttpsError, ProvisioningError, RefusedError):
        assert issubclass(error, FAILURES)
