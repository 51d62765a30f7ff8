"""The log: one line per decision, whatever its values contain, and log rotation at any time."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.reasons import ReasonCode, Verdict
from dane_radius.core.ruling import Decision, Evidence, Ruling
from dane_radius.local.config import LogConfig
from dane_radius.local.log import LogFile, open_log
from dane_radius.server.decision_log import MAX_LINE_OCTETS, decision_line, log_decision
from dane_radius.server.metrics import Metrics
from dane_radius.server.reporter import DecisionReporter
from policy import RequestFacts

ACCEPT = Decision(Ruling(Verdict.ACCEPT, ReasonCode.DANE_MATCH, "d", "a.example.net", "r"), ttl=0)
REJECT = Decision(Ruling(Verdict.REJECT, ReasonCode.DNS_BOGUS, "d", "a.example.net", "r"))
MONITORED = Decision(Ruling(Verdict.ACCEPT, ReasonCode.TLSA_ABSENT, "d", "a.example.net", "r", monitored=True))


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("decision", "level", "verdict"),
    [(ACCEPT, "info", "accept"), (REJECT, "warning", "reject"), (MONITORED, "warning", "accept")],
)
def test_each_decision_is_one_line(tmp_path: Path, decision: Decision, level: str, verdict: str) -> None:
    logger, _ = open_log(LogConfig(destination=str(tmp_path / "log")))
    log_decision(logger, decision, at=1.5, seconds=0.0123, request={"ssid": "iot", "nas": None})
    [line] = written(tmp_path / "log")
    assert (line["level"], line["verdict"], line["reason"]) == (level, verdict, decision.ruling.reason.value)
    assert line["milliseconds"] == 12.3
    assert line["timestamp"] == "1970-01-01T00:00:01.500000Z"
    assert line["ssid"] == "iot"
    assert "nas" not in line
    assert line.get("monitored", False) is decision.ruling.monitored
    assert line["evidence"] == decision.to_json()["evidence"]


FIELDS = st.one_of(st.none(), st.text(max_size=40))


EVIDENCE = [
    Evidence(),
    Evidence(names=("a.example.net",)),
    Evidence(names=("a.example.net",), dns="secure", records=("3 1 1 ab…",), set_aside=(("x", "y"),)),
    Evidence(policy="abc"),
]


@given(
    st.sampled_from([ACCEPT, REJECT, MONITORED]),
    st.sampled_from(EVIDENCE),
    st.sampled_from([{}, {"ttl": 0}, {"cached": True}, {"ttl": 3, "cached": True}, {"ttl": 9, "resumed": True}]),
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(["station", "nas", "ssid", "outer_identity"]), FIELDS),
    st.floats(0, 4e9),
    st.floats(0, 100),
)
def test_decision_line_and_log_decision_write_the_same_line(
    tmp_path_factory: pytest.TempPathFactory,
    decision: Decision,
    evidence: Evidence,
    circumstances: dict[str, Any],
    detail: str,
    request_fields: dict[str, str | None],
    at: float,
    seconds: float,
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    logger, _ = open_log(LogConfig(destination=str(path)))
    decision = Decision(replace(decision.ruling, detail=detail, evidence=evidence), **circumstances)
    log_decision(logger, decision, at=at, seconds=seconds, request=request_fields)
    line = decision_line(decision, at=at, seconds=seconds, request=request_fields)
    assert path.read_text() == line + "\n"


def test_several_lines_are_written_together(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "log"))
    file.write_line("first")
    file.write_lines([f"{number} {'é' * number}" for number in range(300)])
    file.write_lines([])
    file.write_line("last")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["first", *(f"{number} {'é' * number}" for number in range(300)), "last"]


def test_a_full_disk_loses_whole_lines_and_counts_them(tmp_path: Path) -> None:
    assert LogFile("/dev/full").write_lines(["one", "two"]) == 2
    assert LogFile("/dev/full").write_line("one") == 1
    path = tmp_path / "log"
    file = LogFile(str(path))
    assert file.write_line("before") == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The limit allows two and a half lines. Python ignores the signal that the kernel sends.
    resource.setrlimit(resource.RLIMIT_FSIZE, (7 + 25, limits[1]))
    try:
        assert file.write_lines(["x" * 9] * 5) == 3
        assert file.write_line("y" * 50) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "before\n" + ("x" * 9 + "\n") * 2
    assert file.write_line("after") == 0
    assert path.read_text().endswith("x\nafter\n")


def test_lost_lines_are_counted() -> None:
    metrics = Metrics()
    reporter = DecisionReporter(open_log(LogConfig(destination="none"))[0], metrics, json_file=LogFile("/dev/full"))
    for _ in range(3):
        reporter.report(ACCEPT, 0.001, RequestFacts())
    samples = {sample.name: sample.value for metric in metrics.unlogged.collect() for sample in metric.samples}
    assert samples["dane_radius_decisions_unlogged_total"] == 3


def test_the_length_of_a_line_is_limited() -> None:
    hostile = "\x01" * 5000
    evidence = Evidence(names=tuple(f"{hostile}{n}" for n in range(50)), records=("r" * 300,) * 400)
    refused = Ruling(Verdict.REJECT, ReasonCode.TLSA_MISMATCH, hostile, "a.example", "rule", evidence=evidence)
    request: dict[str, str | None] = {"station": hostile, "nas": hostile, "ssid": hostile, "outer_identity": hostile}
    line = decision_line(Decision(refused), at=0.0, seconds=0.001, request=request)
    assert len(line) <= MAX_LINE_OCTETS
    found = json.loads(line)
    assert found["cut"] is True
    assert (found["verdict"], found["reason"], found["name"]) == ("reject", "tlsa_mismatch", "a.example")
    assert found["timestamp"].startswith("1970-01-01T00:00:00")
    # A line within the limit is complete, and not marked as cut.
    short = decision_line(
        Decision(replace(refused, detail="d", evidence=Evidence())), at=0.0, seconds=0.001, request={}
    )
    assert "cut" not in json.loads(short)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_value_stays_within_its_line(
    tmp_path_factory: pytest.TempPathFactory, outer_identity: str, detail: str
) -> None:
    for form in ("json", "text"):
        path = tmp_path_factory.mktemp("log") / "log"
        logger, _ = open_log(LogConfig(destination=str(path), format=form))  # type: ignore[arg-type]  # both are allowed
        decision = Decision(replace(REJECT.ruling, detail=detail))
        log_decision(logger, decision, at=0, seconds=0, request={"outer_identity": outer_identity})
        text = path.read_text()
        assert text.count("\n") == 1
        # No character that controls a terminal.
        assert text.rstrip("\n").isprintable()
        if form == "json":
            assert json.loads(text)["detail"] == detail


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    logger, _ = open_log(LogConfig(destination=str(tmp_path / "log")))

    def write() -> None:
        for _ in range(200):
            log_decision(logger, ACCEPT, at=0, seconds=0, request={"station": "x" * 500})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written(tmp_path / "log")) == 800


def test_the_log_is_reopened_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path))
    file.write_line("one")
    file.reopen_if_moved()
    path.rename(tmp_path / "log.1")
    file.write_line("two")
    file.reopen_if_moved()
    file.write_line("three")
    path.unlink()
    file.reopen_if_moved()
    file.write_line("four")
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "four\n"
    assert path.stat().st_mode & 0o007 == 0


def test_a_removed_folder_loses_lines_without_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = LogFile(str(folder / "log"))
    (folder / "log").unlink()
    folder.rmdir()
    file.reopen_if_moved()
    file.write_line("lost")
    folder.mkdir()
    file.reopen_if_moved()
    file.write_line("found")
    assert (folder / "log").read_text() == "found\n"


def test_standard_error_may_be_a_socket() -> None:
    """As under systemd, where opening /dev/stderr fails."""
    program = (
        "from dane_radius.server.config import LogConfig\nfrom dane_radius.local.log import open_log\n"
        "log, file = open_log(LogConfig(destination='stderr'))\nlog.info('heard')\nassert file is None\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=30)
        ours.settimeout(5)
        assert json.loads(ours.recv(4096))["event"] == "heard"


def test_a_log_that_cannot_be_opened_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        open_log(LogConfig(destination=str(tmp_path / "nowhere" / "log")))
    logger, file = open_log(LogConfig(destination="none"))
    log_decision(logger, ACCEPT, at=0, seconds=0, request={})
    assert file is None
