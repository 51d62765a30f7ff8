"""What must hold of the running site. Each check raises SiteError."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.harness.process import wait_for
from tests.integration.containers.compose_model import Compose, Service
from tests.integration.containers.engine import DOCKERFILE, STAND_INS, TARGETS, Engine
from tests.integration.containers.site import Running, Site, SiteError, privileges_proof, read_only_proof, target_of

# No image registry is reachable, and no Debian package has it.
NOT_RUN = frozenset({"grafana"})
NAME = "a1b2c3.camera._device.home.example"
NODES = ("1", "2")
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
    operations = site.addresses["operations"]["operations"]

    def reaches(name: str, address: str, port: int) -> bool:
        return site.execute(name, "/usr/bin/python3", "-c", probe, address, str(port)).returncode == 0

    found = {
        "registry to database": reaches("registry", database, 5432),
        "trust-sync to registry": reaches("trust-sync-1", registry, 8443),
        "trust-sync to operations": reaches("trust-sync-1", operations, 8444),
        "trust-sync to database": reaches("trust-sync-1", database, 5432),
        "RADIUS server to database": reaches("radius-1", database, 5432),
        "RADIUS server to registry": reaches("radius-1", registry, 8443),
        "RADIUS server to operations": reaches("radius-1", operations, 8444),
        "operations to database": reaches("operations", database, 5432),
        "operations to registry": reaches("operations", registry, 8443),
        "RADIUS server to Knot": reaches("radius-1", site.addresses["knot"]["zones"], 5300),
    }
    allowed = {"registry to database", "trust-sync to registry", "trust-sync to operations"}
    if {name for name, reached in found.items() if reached} != allowed:
        raise SiteError(f"reached: {found}; only {sorted(allowed)} expected")


def start_again(site: Site, name: str, stdin: bytes = b"") -> Running:
    """A service that has ended, once more with the same volumes. Its log is a new one."""
    site.running.pop(name, None)
    folder = site.folder / "services" / name
    if folder.exists():
        folder.rename(folder.with_name(f"{name}-{time.monotonic_ns()}"))
    return site.start(name, stdin)


def run_device(site: Site, bundle: bytes) -> Running:
    """The demonstration's device, once more with the same state."""
    return start_again(site, "device", bundle)


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
    wait_for(
        lambda: any(item["reason"] == "tlsa_absent" for item in decisions(site, "1")),
        "a decision tlsa_absent in the log",
    )


def decisions(site: Site, node: str) -> list[dict[str, Any]]:
    """The decisions about the device that `docker compose logs` shows of a RADIUS server."""
    lines = [line for line in site.running[f"radius-{node}"].log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line["event"] == "decision" and line["name"] == NAME]


def sync_status(site: Site, node: str) -> dict[str, Any]:
    """What `trust-sync status` says of a node."""
    done = site.execute(f"trust-sync-{node}", "trust-sync", "status", "--json")
    if done.returncode:
        raise site.running[f"trust-sync-{node}"].failed(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def operations(site: Site, *arguments: str) -> dict[str, Any]:
    """A command of dane-operations in its container."""
    done = site.execute("operations", "dane-operations", *arguments, "--json")
    if done.returncode:
        raise SiteError(f"dane-operations {' '.join(arguments)}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def followed(site: Site) -> None:
    """Each trust-sync follows the registry's feed, and holds its issuing CA; and it follows operations as its node."""
    for node in NODES:
        status = sync_status(site, node)
        if not any(anchor["source"] == "registry" for anchor in status["anchors"]):
            raise SiteError(f"trust-sync-{node}: no anchor from the registry: {json.dumps(status)[:600]}")
        found = status["operations"]
        if found["node"] != f"radius-{node}" or not found["usable"] or found["error"] or any(found["reports"].values()):
            raise SiteError(f"trust-sync-{node}: operations not followed: {json.dumps(found)}")


def _expect_standing(site: Site, node: str, quarantined: int) -> None:
    """A node's trust-sync knows this number of devices in quarantine."""
    wait_for(
        lambda: sync_status(site, node)["operations"]["standing"]["quarantined"] == quarantined,
        f"{quarantined} devices in quarantine at radius-{node}",
        timeout=SETTLED_SECONDS,
    )


def _expect_admission(site: Site, node: str, zone: str, known: int) -> None:
    """The device's last decision, of more than `known`, is an admission to `zone`."""
    wait_for(lambda: len(decisions(site, node)) > known, f"the decision of radius-{node} in its log", SETTLED_SECONDS)
    last = decisions(site, node)[-1]
    if last["verdict"] != "accept" or last["evidence"].get("zone") != zone:
        raise SiteError(f"radius-{node}: an admission to {zone} expected: {json.dumps(last)}")


def _expect_reports(site: Site, zone: str) -> None:
    """Operations has learned that both nodes admitted the device to `zone`."""

    def reported() -> bool:
        admissions = operations(site, "show", NAME)["admissions_kept"]
        return {(f"radius-{node}", zone) for node in NODES} <= {(item["node"], item["zone"]) for item in admissions}

    wait_for(reported, f"both nodes to report admissions to {zone}", SETTLED_SECONDS)


def quarantined(site: Site) -> None:
    """A quarantine reaches both RADIUS servers, and a release; operations learns where the device was admitted."""
    for command, devices, zone in (("quarantine", 1, "quarantine"), ("release", 0, "home")):
        operations(site, command, NAME, "--reason", "a check")
        for node in NODES:
            _expect_standing(site, node, devices)
        known = {node: len(decisions(site, node)) for node in NODES}
        site.wait(run_device(site, b""))
        for node in NODES:
            _expect_admission(site, node, zone, known[node])
        _expect_reports(site, zone)


def remembered(site: Site) -> None:
    """Without operations, a node that starts again has the last known standing, and a new node is not healthy."""
    operations(site, "quarantine", NAME, "--reason", "a check")
    for node in NODES:
        _expect_standing(site, node, 1)
    for name in ("operations", "trust-sync-1", "radius-1"):
        site.stop(name)
    for name in ("radius-1", "trust-sync-1"):
        site.wait(start_again(site, name))
    site.wait(run_device(site, b""))
    _expect_admission(site, "1", "quarantine", 0)
    _new_node(site)
    site.wait(start_again(site, "operations"))
    operations(site, "release", NAME, "--reason", "a check")
    for node in NODES:
        _expect_standing(site, node, 0)


def _new_node(site: Site) -> None:
    """A trust-sync with empty volumes that reaches nobody runs, and its health check says what is missing."""
    service = site.compose.services["trust-sync-1"]
    volumes = [re.sub(r"^([a-z-]+)-1:", r"\1-new:", volume) for volume in service.volumes]
    site.add("trust-sync-new", service.model_copy(update={"volumes": volumes, "networks": {}}))
    running = site.start("trust-sync-new")
    wait_for(Path(running.spec.pid_file).exists, "the new trust-sync to start")
    status = ("trust-sync", "status", "--json")
    wait_for(lambda: site.execute("trust-sync-new", *status).returncode == 0, "the new trust-sync", SETTLED_SECONDS)
    done = site.execute("trust-sync-new", *site.health_command(running))
    if done.returncode != 1 or "no standing of devices yet" not in done.stderr:
        raise running.failed(f"its health check ends with {done.returncode}: {done.stderr}")
    site.stop("trust-sync-new")


def scraped(site: Site) -> None:
    """Prometheus reaches every target of its configuration."""
    query = ["promtool", "query", "-o", "json", "instant", "http://127.0.0.1:9090", "up"]
    jobs = yaml.safe_load((site.compose_folder.parent / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in jobs for static in job["static_configs"] for target in static["targets"]}
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        done = site.execute("prometheus", *query)
        found = {}
        if done.returncode == 0:
            found = {row["metric"]["instance"]: row["value"][1] for row in json.loads(done.stdout)}
        if found == dict.fromkeys(targets, "1"):
            return
        if time.monotonic() > deadline:
            raise SiteError(f"prometheus: {sorted(targets)} expected, found {found} {done.stderr[-300:]}")
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
    ("each trust-sync follows the registry and operations", followed),
    ("a device enrolls, and both RADIUS servers admit it", admitted),
    ("a quarantine and a release reach both RADIUS servers", quarantined),
    ("without operations, nodes keep the last known standing", remembered),
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
