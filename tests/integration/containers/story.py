"""What must hold of the running site. Each check raises SiteError."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.integration.containers.compose_model import Compose, Service
from tests.integration.containers.engine import DOCKERFILE, STAND_INS, TARGETS, Engine
from tests.integration.containers.site import Running, Site, SiteError, privileges_proof, read_only_proof, target_of

# No image registry is reachable, and no Debian package has it.
NOT_RUN = frozenset({"grafana"})
NAME = "a1b2c3.camera._device.home.example"
SETTLED_SECONDS = 60.0


def own_services(compose: Compose) -> list[str]:
    """Everything but the demonstration, as `docker compose up` starts it."""
    return [name for name, service in compose.services.items() if not service.profiles and name not in NOT_RUN]


def hardened(site: Site) -> None:
    """No service can write its root file system or has any privilege."""
    for name, running in site.running.items():
        if not running.service.is_job:
            read_only_proof(site, name)
            privileges_proof(site, name)


def separated(site: Site) -> None:
    """Services without a common network cannot reach each other; those with one can (the control)."""
    probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    database = site.addresses["postgres"]["database"]
    registry = site.addresses["registry"]["registry"]

    def reaches(name: str, address: str, port: int) -> bool:
        return site.execute(name, "/usr/bin/python3", "-c", probe, address, str(port)).returncode == 0

    found = {
        "registry to database": reaches("registry", database, 5432),
        "trust-sync to registry": reaches("trust-sync-1", registry, 8443),
        "trust-sync to database": reaches("trust-sync-1", database, 5432),
        "RADIUS server to database": reaches("radius-1", database, 5432),
        "RADIUS server to registry": reaches("radius-1", registry, 8443),
        "RADIUS server to Knot": reaches("radius-1", site.addresses["knot"]["zones"], 5300),
    }
    allowed = {"registry to database", "trust-sync to registry"}
    if {name for name, reached in found.items() if reached} != allowed:
        raise SiteError(f"reached: {found}; only {sorted(allowed)} expected")


def run_device(site: Site, bundle: bytes) -> Running:
    """The demonstration's device, once more with the same state."""
    site.running.pop("device", None)
    folder = site.folder / "services" / "device"
    if folder.exists():
        folder.rename(folder.with_name(f"device-{time.monotonic_ns()}"))
    return site.start("device", stdin=bundle)


def admitted(site: Site) -> None:
    """A device enrolls, and both RADIUS servers admit it."""
    made = site.execute("registry", "iot-registry", "device", "add", NAME)
    if made.returncode:
        raise SiteError(f"registry: device add: {made.stderr}")
    device = run_device(site, made.stdout.encode())
    site.wait(device)
    log = device.log.read_text()
    if log.count("admitted the device") != 2:
        raise device.failed("two admissions expected")


def refused_after_revocation(site: Site) -> None:
    """The same device, its record deleted: refused, for that reason."""
    done = site.execute("registry", "iot-registry", "device", "revoke", NAME, "--reason", "stolen")
    if done.returncode:
        raise SiteError(f"registry: device revoke: {done.stderr}")
    flushed = time.monotonic() + SETTLED_SECONDS
    while True:
        device = run_device(site, b"")
        code = device.process.wait(60)
        if code == 1 and "refused the device" in device.log.read_text():
            break
        if time.monotonic() > flushed:
            raise device.failed(f"still admitted: code {code}")
    decision = site.running["radius-1"].log.read_text()
    if '"reason":"tlsa_absent"' not in decision.replace(" ", ""):
        raise site.running["radius-1"].failed("no decision tlsa_absent in its log")


def followed(site: Site) -> None:
    """Each trust-sync follows the registry's feed, and holds its issuing CA."""
    for name in ("trust-sync-1", "trust-sync-2"):
        status = json.loads(site.execute(name, "trust-sync", "status", "--json").stdout)
        if not any(anchor["source"] == "registry" for anchor in status["anchors"]):
            raise SiteError(f"{name}: no anchor from the registry: {json.dumps(status)[:600]}")


def scraped(site: Site) -> None:
    """Prometheus reaches every target of its configuration."""
    query = ["promtool", "query", "-o", "json", "instant", "http://127.0.0.1:9090", "up"]
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        done = site.execute("prometheus", *query)
        found = {}
        if done.returncode == 0:
            found = {row["metric"]["instance"]: row["value"][1] for row in json.loads(done.stdout)}
        if len(found) == 6 and set(found.values()) == {"1"}:
            return
        if time.monotonic() > deadline:
            raise SiteError(f"prometheus: six targets expected, found {found} {done.stderr[-300:]}")
        time.sleep(0.5)


def device_image(site: Site) -> None:
    """The device's image with its own command: a modem."""
    service = site.compose.services["device"]
    alone: dict[str, object] = {
        "command": None, "healthcheck": None, "restart": "unless-stopped", "networks": {}, "secrets": [],
    }  # fmt: skip
    modem: Service = service.model_copy(update=alone)
    site.add("device-modem", modem)
    running = site.start("device-modem")
    site.wait(running)
    read_only_proof(site, "device-modem")
    privileges_proof(site, "device-modem")
    site.stop("device-modem")


def stopped(site: Site) -> None:
    """Every service ends on SIGTERM."""
    for name, running in reversed(site.running.items()):
        if running.process.poll() is None:
            site.stop(name)


CHECKS: tuple[tuple[str, Callable[[Site], None]], ...] = (
    ("read-only root file systems, no privileges", hardened),
    ("separate networks", separated),
    ("each trust-sync follows the registry", followed),
    ("a device enrolls, and both RADIUS servers admit it", admitted),
    ("the revoked device is refused", refused_after_revocation),
    ("Prometheus scrapes every target", scraped),
    ("the device's image runs its modem", device_image),
    ("every service ends on SIGTERM", stopped),
)


def targets(compose: Compose) -> list[str]:
    """The images that the services of the site need."""
    return list(dict.fromkeys(target_of(svc) for name, svc in compose.services.items() if name not in NOT_RUN))


def build_all(engine: Engine, compose: Compose, names: list[str]) -> None:
    """Build images, stand-ins included."""
    for target in names or targets(compose):
        began = time.monotonic()
        engine.build(target, DOCKERFILE if target in TARGETS else STAND_INS)
        engine.say(f"built {target} in {time.monotonic() - began:.0f} s")
