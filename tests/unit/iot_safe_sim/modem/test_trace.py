"""The trace: a person can read it, and it shows no secret."""

from __future__ import annotations

import pytest

from iot_safe_sim.modem import Tracer


@pytest.mark.parametrize(
    ("command", "response", "expected"),
    [
        ("00A4040007A0000005590010", "9000", "ch0 SELECT P1=04 P2=00 [A0000005590010] -> 9000 ok"),
        ("81CBC30003830177", "6A82", "ch1 GET DATA P1=C3 P2=00 [file 77] -> 6A82 not found"),
        ("81B9000003840104", "614D", "ch1 GENERATE KEY PAIR [private key 04] -> 614D 77 bytes wait"),
        ("00840000 08", "0011223344556677 9000", "ch0 GET RANDOM Le=08 -> 9000 ok [8 bytes]"),
        ("00EE0000", "6D00", "ch0 INS EE -> 6D00 unknown instruction"),
        ("00", "6700", "?  00 -> 6700 wrong length 1 bytes: a command has at least 4"),
    ],
)
def test_a_command_and_its_response_are_one_line(command: str, response: str, expected: str) -> None:
    assert Tracer().describe(bytes.fromhex(command), bytes.fromhex(response)) == expected


def test_the_reason_of_a_refusal_is_shown() -> None:
    line = Tracer().describe(bytes.fromhex("00B0000003830102"), bytes.fromhex("6985"), "container 02 is empty")
    assert line.endswith("-> 6985 conditions not satisfied (container 02 is empty)")


def test_secrets_are_masked_in_commands_answers_and_continued_answers() -> None:
    tracer = Tracer()
    secret = "5EC2E75EC2E75EC2E75EC2E75EC2E75EC2E75EC2E75EC2E75EC2E75EC2E75EC2E7"
    shown = []
    hkdf = f"814A000027D121{secret}91020001"
    shown.append(tracer.describe(bytes.fromhex(hkdf), bytes.fromhex("6121")))
    shown.append(tracer.describe(bytes.fromhex("01C0000021"), bytes.fromhex(secret + "9000")))
    shown.append(tracer.describe(bytes.fromhex("81460000068401048501 05"), bytes.fromhex(secret + "9000")))
    shown.append(tracer.describe(bytes.fromhex(f"80E2800023D121{secret}"), bytes.fromhex("9000")))
    assert "5EC2E7" not in "".join(shown)
    assert "secret value (33 bytes)" in shown[0]
    assert "33 bytes" in shown[1]
