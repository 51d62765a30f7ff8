"""Peers: what other ways of asking about each certificate cost the server: OCSP, an HTTP policy server, a program."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.bench import report
from tests.bench.arms import Arm, forking_arm, module_arm, plain_arm, process_cpu
from tests.bench.load import closed_loop
from tests.bench.peer_arms import ocsp_arm, rest_arm, start_ocsp, start_policy_server
from tests.bench.stand import Settings, Stand, ZoneWish, stand
from tests.harness.process import free_port

ZONE = "iot.example"
_AT_ONCE = 4
_DEVICES = 16


def run(settings: Settings) -> dict[str, Any]:
    rounds = settings.rounds or settings.pick(5, 1)
    authentications = settings.pick(400, 100)
    few = authentications // 8
    rows: list[dict[str, Any]] = []
    with stand(settings, [ZoneWish(ZONE, _DEVICES)]) as here, ExitStack() as helpers:
        ocsp_port, http_port = free_port(), free_port()
        serials = [serial for fleet in here.fleets.values() for serial in fleet.serials]
        ocsp = helpers.enter_context(start_ocsp(here.folder / "ocsp", here.ca, serials, ocsp_port))
        http = helpers.enter_context(start_policy_server(here.folder / "http", http_port))
        asked = {"ocsp": [ocsp.pid], "rest": [http.pid]}
        for number in range(rounds):
            with ExitStack() as stack:
                arms = [plain_arm(authentications), module_arm(authentications), rest_arm(authentications, http_port)]
                arms += [ocsp_arm(authentications, ocsp_port), forking_arm(few)]
                here.start_arms(arms, stack)
                for arm in here.arms:
                    row = _measure(here, arm, asked.get(arm.name, []))
                    rows.append(row | {"round": number + 1})
                    settings.say(f"round {number + 1}: {arm.title}: {row['server_cpu_ms']:.2f} ms")
    return {"rows": rows, "bars": []}


def _measure(here: Stand, arm: Arm, asked: list[int]) -> dict[str, Any]:
    devices = here.fleets[ZONE].devices
    here.admit(arm, devices)
    load = here.load(arm)
    before = sum(map(process_cpu, asked))
    done, taken = here.measured(arm, lambda: closed_loop(load, devices, _AT_ONCE, arm.authentications))
    row = {"arm": arm.name, "title": arm.title, **report.summary(done.outcomes), **taken}
    row["asked_cpu_ms"] = 1000 * (sum(map(process_cpu, asked)) - before) / len(done.outcomes)
    row["per_second"] = row["accepted"] / done.seconds
    return row


def text(figures: dict[str, Any]) -> str:
    rows = figures["rows"]
    plain = {row["round"]: row["server_cpu_ms"] for row in rows if row["arm"] == "plain"}
    shown = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        chosen = [row for row in rows if row["arm"] == name]
        ratios = [row["server_cpu_ms"] / plain[row["round"]] for row in chosen]
        shown.append(report.medians(chosen) | {"ratio": report.percentile(ratios, 0.5)})
    columns: list[report.Column] = [
        ("server", report.key("title")),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("to plain", report.key("ratio", 2)),
        ("asked one's CPU ms", report.key("asked_cpu_ms", 2)),
        ("a second", report.key("per_second", 0)),
        ("p50 ms", report.key("p50_ms", 1)),
        ("accepted", report.accepted_of),
    ]
    return report.table(columns, shown) + f"\n  {_AT_ONCE} at once, warm; medians of the rounds"
