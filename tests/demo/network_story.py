"""The network demo's story: one device from the factory to the end, over two networks that never met."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from tests.demo.network_world import FLEET, HOME, MAKER, Joining, NetworkWorld
from tests.demo.story import Observation
from tests.harness.eap import write_peer_config
from tests.harness.pki import Identity, authority
from tests.harness.process import Daemon, wait_for

NAME = f"cam1.camera._device.{MAKER}"
NEW_NAME = f"cam1.camera._device.{HOME}"
DISCONNECT_SECONDS = 2.0


def run(world: NetworkWorld, show: Callable[[Observation], None]) -> list[Observation]:
    """Tell the story; `show` gets each observation as it is made. One that fails does not stop the others."""
    chapters: list[tuple[str, str, Callable[[NetworkWorld, Observation], None]]] = [
        ("enroll", "The maker registers a camera; its eSIM makes a key and enrolls", enroll),
        ("join_house", "The camera is plugged in at the house", join_house),
        ("accounting", "The house's accounting knows it by its DNS name", accounting),
        ("move_to_office", "It moves to an office that knows neither it nor its CA", move_to_office),
        ("impostor_unknown_ca", "An impostor claims its name, with a CA of its own", impostor_of_own_ca),
        (
            "impostor_known_ca",
            "Another one, with a CA that the office trusts for elsewhere.example",
            impostor_of_known_ca,
        ),
        ("revoke", "The maker revokes the camera: the office's port closes", revoke),
        ("refused", "It tries again, and is refused", refused),
        ("rehome", "It changes hands: restored, moved to the household's own domain, enrolled again", rehome),
        ("rollover", "Emergency: the maker's keys are stolen; everything is made new", rollover),
        ("fleet_returns", "A fleet of devices comes back with new certificates", fleet_returns),
        ("prometheus", "Prometheus has seen it all", prometheus),
    ]
    observations = []
    for key, title, tell in chapters:
        observation = Observation(key, title)
        began = time.perf_counter()
        try:
            tell(world, observation)
        except Exception as error:
            # The story goes on, to show what else holds.
            observation.expect(False, f"{type(error).__name__}: {error}")
        observation.milliseconds = observation.milliseconds or (time.perf_counter() - began) * 1000
        observations.append(observation)
        show(observation)
    return observations


def enroll(world: NetworkWorld, seen: Observation) -> None:
    """Story step 1."""
    created = world.registry.json("device", "add", "cam1", "--type", "camera", "--profile", "4 0 0")
    result = world.enroll(created["bundle"])
    answer = world.house.unbound.query(NAME)
    records = [rdata for rrset in answer.answer for rdata in rrset]
    seen.verdict, seen.reason = "enrolled", result["name"]
    seen.evidence = (
        f"TLSA {records[0].usage} {records[0].selector} {records[0].mtype}, signed by {MAKER}, "
        f"validated by the house's resolver from the key of the parent zone"
    )
    seen.details = {"enrollment": result}
    seen.expect(result["name"] == NAME, f"the device is {result['name']}")
    seen.expect(len(records) == 1 and answer.flags & 0x20, "the record is not there, or not secure")
    keys = [path for path in world.card.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    seen.expect(not keys, f"a private key lies in {keys}")


def _join(world: NetworkWorld, seen: Observation, where: str, name: str, vlan: int, host: str) -> dict[str, Any]:
    site = world.house if where == "house" else world.office
    seen.expect(site.switch.vlan() is None and not world.camera.reaches(host), "the port was open before")
    before = len(site.decisions(name))
    began = time.perf_counter()
    world.joined = Joining(world.camera, f"{where}0", world.card, site)
    said = world.joined.wait_joined()
    opened = site.switch.wait_open()
    seen.milliseconds = (time.perf_counter() - began) * 1000
    decision = site.wait_decision(name, before + 1)
    seen.verdict, seen.reason = decision["verdict"], decision["reason"]
    seen.expect(len(site.decisions(name)) == before + 1, "it took more than one try")
    seen.expect(decision["reason"] == "dane_match", f"decided {decision['reason']}")
    seen.expect(opened == vlan, f"the port is in VLAN {opened}, {vlan} expected")
    seen.expect(world.camera.reaches(host), f"{host} cannot be reached through the open port")
    seen.evidence = (
        f"port was closed, is in VLAN {opened}; ping {host} answered; rule {decision['rule']}; {said['tls_version']}"
    )
    seen.details = {"joined": said, "decision": decision}
    return decision


def join_house(world: NetworkWorld, seen: Observation) -> None:
    """Story step 2."""
    _join(world, seen, "house", NAME, 42, "10.142.0.1")


def accounting(world: NetworkWorld, seen: Observation) -> None:
    """Story step 3."""
    radius = world.house.radius
    rows: list[dict[str, Any]] = []

    def started() -> bool:
        with contextlib.closing(sqlite3.connect(radius.accounting_db)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM radacct WHERE acctstoptime IS NULL").fetchall()
        rows[:] = [dict(row) for row in found]
        return bool(rows)

    wait_for(started, "the session in radacct")
    detail = "".join(path.read_text() for path in (radius.folder / "log").rglob("detail-*"))
    said = dict(line.strip().split(" = ", 1) for line in detail.splitlines() if " = " in line)
    cui, kept = said.get("Chargeable-User-Identity", ""), said.get("Class", "")
    row = rows[0]
    seen.verdict, seen.reason = "accounted", row["acctsessionid"]
    # The NAS echoes both in its accounting; FreeRADIUS shows octets as hexadecimal digits.
    rule = bytes.fromhex(kept.removeprefix("0x")).decode()
    seen.evidence = f"radacct: username {row['username']}; Class {rule!r}; Chargeable-User-Identity {cui[:18]}…"
    seen.details = {
        "radacct": {key: value for key, value in row.items() if value is not None},
        "rule": rule,
        "chargeable_user_identity": cui,
    }
    seen.expect(row["username"] == NAME, f"radacct says {row['username']}")
    seen.expect(rule == "rule=bought-devices", f"Class is {rule!r}")
    seen.expect(cui and NAME.encode().hex() not in cui, "no (opaque) Chargeable-User-Identity in the accounting")


def move_to_office(world: NetworkWorld, seen: Observation) -> None:
    """Story step 4."""
    if world.joined:
        world.joined.leave()
    world.house.switch.wait_closed()
    office = world.office
    known = office.sync.status()["anchor_count"]
    seen.expect(known == 0, f"the office holds {known} anchors already")
    seen.expect("[[registry]]" not in office.sync.config.read_text(), "the office has the registry configured")
    decision = _join(world, seen, "office", NAME, 66, "10.166.0.1")
    found = office.sync.events("discovery")[-1]
    seen.expect(found["source"] == "pkix-cd", f"its CA came from {found['source']}")
    seen.details["discovery"] = found
    seen.evidence += f"; its CA was found in {found['milliseconds']} ms; {decision['evidence']['chain']}"


def _impostor(world: NetworkWorld, seen: Observation, port: int, certificate: Identity) -> Daemon:
    """Start the device at one of the office's ports and observe its refusal. The caller ends it."""
    switch = world.office.switch
    device, interface = switch.cables[port - 1]
    config = write_peer_config(
        switch.folder,
        certificate,
        identity=NAME,
        server_ca=world.office.radius.server_ca_file,
        server_name="radius.office.example",
        name=f"impostor{port}",
    )
    config.write_text(f"ctrl_interface={switch.folder}/wpa{port}\nap_scan=0\nfast_reauth=0\n{config.read_text()}")
    supplicant = device.start_supplicant(interface, config, switch.folder / f"wpa{port}.log")
    try:
        wait_for(lambda: switch.refusals(port) >= 1, "hostapd to see the refusal", 20)
        seen.verdict = "reject"
        seen.expect(switch.vlan(port) is None, "the impostor's port is open")
        seen.expect(not device.reaches("10.166.0.1"), "the impostor reaches the network")
        seen.expect(world.office.switch.vlan() == 66, "the real camera lost its port")
        seen.expect(world.camera.reaches("10.166.0.1"), "the real camera is cut off")
    except BaseException:
        supplicant.stop()
        raise
    return supplicant


def impostor_of_own_ca(world: NetworkWorld, seen: Observation) -> None:
    """Story step 5: the handshake ends it."""
    office = world.office
    anchors = office.sync.status()["anchor_count"]
    with _impostor(world, seen, 2, authority(f"Device CA 1 of {MAKER}").issue(NAME)):
        pass
    log = office.radius.log.read_text(errors="replace")
    cause = [line for line in log.splitlines() if "Login incorrect" in line or "TLS Alert" in line]
    seen.reason = "unknown CA"
    seen.evidence = "OpenSSL ends the handshake; the camera's session goes on"
    seen.details = {"log": cause[-3:]}
    seen.expect("unknown CA" in log or "unable to get local issuer" in log, "the log does not name the cause")
    seen.expect(office.sync.status()["anchor_count"] == anchors, "the impostor made the office trust something")


def impostor_of_known_ca(world: NetworkWorld, seen: Observation) -> None:
    """Story step 5, the harder one: the handshake succeeds, the decision does not."""
    office = world.office
    before = len(office.decisions(NAME))
    with _impostor(world, seen, 3, world.elsewhere.issue(NAME)):
        decision = office.wait_decision(NAME, before + 1)
    seen.reason, seen.evidence = decision["reason"], decision["detail"]
    seen.details = {"decision": decision}
    seen.expect(decision["reason"] == "tlsa_mismatch", f"decided {decision['reason']}")


def revoke(world: NetworkWorld, seen: Observation) -> None:
    """Story step 6."""
    office = world.office
    wait_for(lambda: office.sync.status()["sessions"]["watched_names"] >= 1, "the office to watch the session")
    began = time.perf_counter()
    world.registry.revoke(NAME)
    answered = time.perf_counter() - began
    office.switch.wait_closed(interval=0.005)
    seconds = time.perf_counter() - began
    seen.milliseconds = seconds * 1000
    seen.verdict, seen.reason = "disconnected", "record gone"
    seen.evidence = (
        f"the registry took the record away in {answered * 1000:.0f} ms, the office looked again at its TTL (1 s) and "
        f"sent a Disconnect-Request"
    )
    wait_for(lambda: office.sync.events("session over"), "trust-sync to know that the session is over")
    over = office.sync.events("session over")[-1]
    seen.details = {"seconds": round(seconds, 3), "session_over": over}
    seen.expect(seconds < DISCONNECT_SECONDS, f"it took {seconds:.2f} s")
    seen.expect(not world.camera.reaches("10.166.0.1"), "the camera still reaches the network")
    seen.expect(over["how"] == "ack", f"the switch said {over['how']}")


def refused(world: NetworkWorld, seen: Observation) -> None:
    """Story step 6, the retry."""
    office = world.office
    metric = 'dane_radius_decisions_total{monitored="false",reason="tlsa_absent",verdict="reject"}'
    refusals, decisions = office.switch.refusals(), len(office.decisions(NAME))
    wait_for(lambda: office.switch.refusals() > refusals, "the switch to ask again, and the refusal", 30)
    decision = office.wait_decision(NAME, decisions + 1)
    seen.verdict, seen.reason, seen.evidence = decision["verdict"], decision["reason"], decision["detail"]
    seen.details = {"decision": decision, "metric": office.radius.metric(metric)}
    seen.expect(decision["reason"] == "tlsa_absent", f"decided {decision['reason']}")
    seen.expect(office.switch.vlan() is None, "the port is open")
    seen.expect(office.radius.metric(metric) >= 1, "the metrics do not count it")


def rehome(world: NetworkWorld, seen: Observation) -> None:
    """Story step 7."""
    if world.joined:
        world.joined.leave()
        world.joined = None
    world.registry.run("device", "restore", NAME)
    moved = world.registry.json("device", "rehome", NAME, HOME)
    result = world.enroll(moved["bundle"])
    seen.expect(result["name"] == NEW_NAME, f"the device is {result['name']}")
    _join(world, seen, "house", NEW_NAME, 30, "10.130.0.1")
    wait_for(lambda: not world.registry.knot.tlsa(NAME), "the old name's record to go")
    seen.evidence += f"; {NAME} is gone from the DNS"
    seen.details["enrollment"] = result


def rollover(world: NetworkWorld, seen: Observation) -> None:
    """Story step 7: the emergency. A small fleet is locked out."""
    registry = world.registry
    bundles = [
        registry.json("device", "add", f"f{number}", "--type", "sensor")["bundle"] for number in range(1, FLEET + 1)
    ]
    world.enroll_fleet(bundles)
    before = world.try_fleet()
    seen.expect([entry["accepted"] for entry in before] == [True] * FLEET, f"the fleet did not get in before: {before}")
    started = time.perf_counter()
    done = registry.json("rollover", "start", MAKER, "--yes", "--bundles", str(world.folder / "new-bundles.jsonl"))
    took = time.perf_counter() - started
    world.forget(MAKER)
    bogus = world.try_fleet()
    world.delegate(MAKER, done["ds"][0].split(" DS ", 1)[1])
    world.forget(MAKER)
    locked_out = world.try_fleet()
    seen.verdict, seen.reason = "rolled over", f"in {took:.1f} s"
    seen.milliseconds = took * 1000
    seen.evidence = (
        f"new DNSSEC keys, new issuing CA, {FLEET} devices locked out "
        f"(before the parent's new DS: {_reasons(bogus)}; after: {_reasons(locked_out)})"
    )
    seen.details = {"rollover": done, "before_ds": bogus, "after_ds": locked_out}
    for tries in (bogus, locked_out):
        seen.expect(not any(entry["accepted"] for entry in tries), f"an old certificate got in: {tries}")
    seen.expect("dns_bogus" in _reasons(bogus), "the zone validated before its parent knew of the new keys")
    seen.expect("dns_bogus" not in _reasons(locked_out), "the zone does not validate from the parent's new DS")
    # Another domain of the same registry notices nothing.
    seen.expect(world.house.switch.vlan() == 30, "the household's camera lost its port")


def _reasons(tries: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({entry.get("reason", "ended by OpenSSL: the old CA is gone") for entry in tries}))


def fleet_returns(world: NetworkWorld, seen: Observation) -> None:
    """Story step 7: every device is admitted again."""
    lines = (world.folder / "new-bundles.jsonl").read_text().splitlines()
    # The camera has left this domain; only the fleet's bundles are used.
    fresh = {entry["name"]: entry["bundle"] for entry in map(json.loads, lines)}
    names = [f"f{number}.sensor._device.{MAKER}" for number in range(1, FLEET + 1)]
    seen.expect(NAME not in fresh, "the camera that moved away got a new token")
    enrolled = world.enroll_fleet([fresh[name] for name in names])
    tries = world.try_fleet()
    seen.verdict, seen.reason = "accept", f"{sum(entry['accepted'] for entry in tries)} of {FLEET}"
    seen.evidence = "new tokens, new keys in the DNS, new certificates: the house admits every device"
    seen.details = {"tries": tries, "enrolled": enrolled}
    seen.expect([entry["accepted"] for entry in tries] == [True] * FLEET, f"not all came back: {tries}")


def prometheus(world: NetworkWorld, seen: Observation) -> None:
    """Story step 8."""
    watcher = world.prometheus
    watcher.wait_scraped()
    wanted = {
        "let in by the house": ('dane_radius_decisions_total{job="house-radius",reason="dane_match"}', 2 + 2 * FLEET),
        "by the office": ('dane_radius_decisions_total{job="office-radius",reason="dane_match"}', 1),
        "impostors refused": ('dane_radius_decisions_total{job="office-radius",reason="tlsa_mismatch"}', 1),
        "refused after revocation": ('dane_radius_decisions_total{job="office-radius",reason="tlsa_absent"}', 1),
        "sessions ended": ('trust_sync_disconnects_total{job="office-trust-sync",result="ack"}', 1),
        "CAs found just in time": ('trust_sync_discoveries_total{job="office-trust-sync",state="found"}', 1),
        "enrollments": ('iot_registry_enrollments_total{job="iot-registry"}', 2 + 2 * FLEET),
    }
    values = {what: watcher.wait_value(expression, least) for what, (expression, least) in wanted.items()}
    seen.verdict, seen.reason = "scraped", f"{len(watcher.targets)} targets"
    seen.evidence = ", ".join(f"{what}: {value:.0f}" for what, value in values.items())
    seen.details = {"values": {expression: values[what] for what, (expression, _) in wanted.items()}}
