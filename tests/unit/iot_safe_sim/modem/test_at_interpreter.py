"""The AT interpreter: framing, test forms, channels, echo, and noise, in pieces of any size."""

from __future__ import annotations

import random

import pytest

from iot_safe_sim.card import Applet
from iot_safe_sim.middleware import IoTSafeClient
from iot_safe_sim.modem import Modem
from iot_safe_sim.modem.at_interpreter import ERROR, MAX_LINE, OK

SELECT = b'AT+CSIM=24,"00A4040007A0000005590010"\r\n'
SELECTED = b'\r\n+CSIM: 4,"9000"\r\n' + OK


@pytest.fixture
def modem(applet: Applet) -> Modem:
    return Modem(applet)


@pytest.mark.parametrize(
    "line",
    ["AT", "at", "ATE0", "ATZ", "AT&F", "ATV1Q0E0", "AT+CSIM=?", "AT+CCHO=?", "AT+CGLA=?", "AT+CCHC=?", "AT+CMEE=1"],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"])
def test_answers_ok(modem: Modem, line: str, end: bytes) -> None:
    assert modem.feed(line.encode() + end) == OK


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "AT+CPIN?",
        "AT+CSIM",
        "AT+CSIM=",
        'AT+CSIM=23,"00A4040007A0000005590010"',
        'AT+CSIM=26,"00A4040007A0000005590010"',
        'AT+CSIM=24,"00A4040007A000000559001G"',
        'AT+CSIM=3,"00A"',
        'AT+CSIM=-4,"00A4"',
        'AT+CSIM=4,"00A4" trailing',
        "AT+CGLA=0,10,0084000010",
        "AT+CGLA=1,10,0084000010",
        "AT+CGLA=9,10,0084000010",
        "AT+CCHC=1",
        "AT+CCHC=0",
        'AT+CCHO="A00000055900"00',
        'AT+CCHO="A0000005590011"',
        'AT+CCHO="A"',
        "AT+CMEE=3",
        "ATD12345;",
    ],
)
def test_answers_a_plain_error(modem: Modem, line: str) -> None:
    assert modem.feed(line.encode() + b"\r\n") == ERROR
    assert modem.feed(b"AT\r\n") == OK


@pytest.mark.parametrize("line", [b"", b"   "])
def test_an_empty_line_is_no_command(modem: Modem, line: bytes) -> None:
    assert modem.feed(line + b"\r\n") == b""


@pytest.mark.parametrize(
    "line",
    [
        SELECT,
        b'AT+CSIM= 24,"01A4040007A0000005590010"\r\n',
        b'at+csim=24,"01a4040007a0000005590010"\r\n',
        b"AT+CSIM=24,01A4040007A0000005590010\r",
        b'AT+CSIM=24 , "01A4040007A0000005590010"\r\n',
    ],
)
def test_csim_forms_that_clients_send(modem: Modem, line: bytes) -> None:
    assert modem.feed(line) == SELECTED


def test_answer_is_upper_case_and_counts_hexadecimal_digits(modem: Modem, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", b"\xab\xcd\xef")
    modem.feed(SELECT)
    answer = modem.feed(b'AT+CSIM=18,"00B000000383010203"\r\n')
    assert answer == b'\r\n+CSIM: 10,"ABCDEF9000"\r\n\r\nOK\r\n'


def test_same_bytes_whole_and_one_by_one_and_with_trailing_data(applet: Applet) -> None:
    script = b"ATE0\r\nAT\r\n" + SELECT + b"nonsense\r\nAT+CSIM=?\r\n" + SELECT
    whole = Modem(applet).feed(script)
    single = Modem(applet)
    assert b"".join(single.feed(bytes([byte])) for byte in script) == whole
    three = Modem(applet)
    assert b"".join(three.feed(script[start : start + 3]) for start in range(0, len(script), 3)) == whole
    assert whole == OK + OK + SELECTED + ERROR + OK + SELECTED


def test_each_answer_comes_whole_with_the_end_of_its_line(modem: Modem) -> None:
    """wolfSSL expects +CSIM: within one read."""
    assert modem.feed(SELECT[:-2]) == b""
    assert modem.feed(b"\r") == SELECTED
    assert modem.feed(b"\n") == b""


def test_echo(modem: Modem, applet: Applet) -> None:
    assert modem.feed(b"ATE1\r\n") == OK
    assert modem.feed(b"AT\r\n") == b"AT\r" + OK
    assert modem.feed(b"ATE0\r\n") == b"ATE0\r" + OK
    assert modem.feed(b"AT\r\n") == OK
    assert Modem(applet, echo=True).feed(b"AT\r") == b"AT\r" + OK


def test_half_a_line_and_settings_end_with_the_client(modem: Modem) -> None:
    modem.feed(b'ATE1\r\nAT+CMEE=1\r\nAT+CSIM=24,"00A4')
    modem.client_left()
    assert modem.feed(b"AT+CCHC=1\r\n") == ERROR


def test_a_command_is_found_behind_half_a_line_and_noise(modem: Modem) -> None:
    assert modem.feed(b'AT+CSIM=24,"00A404' + SELECT) == SELECTED
    assert modem.feed(b"\x00\xff\xfe~" + SELECT) == SELECTED
    assert modem.feed(b"AATATAT\r\n") == OK


def test_an_overlong_line_is_refused_and_the_next_one_works(modem: Modem) -> None:
    assert modem.feed(b"A" * (10 * MAX_LINE)) == b""
    assert modem.feed(b"\r\n") == ERROR
    assert modem.feed(SELECT) == SELECTED


def test_backspace(modem: Modem) -> None:
    assert modem.feed(b"\x08ATX\x08\r\n") == OK


def test_logical_channels(modem: Modem) -> None:
    assert modem.feed(b'AT+CCHO="A0000005590010"\r\n') == b"\r\n+CCHO: 1\r\n" + OK
    assert modem.feed(b'AT+CCHO="A0000002480400"\r\n') == b"\r\n+CCHO: 2\r\n" + OK
    # CLA 80 and 00, and a wrong channel in CLA: the modem puts its own there.
    for cla in ("80", "00", "03"):
        answer = modem.feed(f'AT+CGLA=1,10,"{cla}CB000044"\r\n'.encode())
        assert answer.startswith(b'\r\n+CGLA: 140,"1001')
        assert answer.endswith(b'9000"\r\n' + OK)
    assert modem.feed(b'AT+CGLA=1,14,"00CB0077000000"\r\n') == b'\r\n+CGLA: 4,"6700"\r\n' + OK
    assert modem.feed(b"AT+CCHC=1\r\n") == OK
    assert modem.feed(b'AT+CGLA=1,10,"80CB000044"\r\n') == ERROR
    assert modem.feed(b"AT+CCHC=1\r\n") == ERROR
    assert modem.feed(b"AT+CCHC=2\r\n") == OK


def test_a_failed_ccho_leaves_no_channel_open(modem: Modem, applet: Applet) -> None:
    for _ in range(10):
        assert modem.feed(b'AT+CCHO="A0000000871002"\r\n') == ERROR
    assert not any(channel.opened for channel in applet.channels[1:])
    assert modem.feed(b'AT+CCHO="A0000005590010"\r\n') == b"\r\n+CCHO: 1\r\n" + OK


def test_error_codes_when_asked_for(modem: Modem) -> None:
    modem.feed(b"AT+CMEE=1\r\n")
    assert modem.feed(b'AT+CCHO="A0000000871002"\r\n') == b"\r\n+CME ERROR: 22\r\n"
    modem.feed(b"AT+CMEE=2\r\n")
    assert modem.feed(b"AT+CPIN?\r\n") == b"\r\n+CME ERROR: operation not supported\r\n"
    assert modem.feed(b"AT+CGLA=1,2,00\r\n") == b"\r\n+CME ERROR: incorrect parameters\r\n"
    modem.feed(b"AT+CMEE=0\r\n")
    assert modem.feed(b"AT+CPIN?\r\n") == ERROR


def test_random_bytes_give_only_well_formed_answers(modem: Modem) -> None:
    source = random.Random(7)
    for _ in range(2000):
        answer = modem.feed(source.randbytes(source.randrange(1, 40)))
        assert answer.count(b"\r\n") % 2 == 0
    modem.client_left()
    assert modem.feed(SELECT) == SELECTED


def test_an_applet_error_is_still_an_ok_on_the_line(modem: Modem) -> None:
    """On ERROR, wolfSSL polls indefinitely."""
    answer = modem.feed(b'AT+CSIM=24,"00A4040007A0000000000000"\r\n')
    assert answer == b'\r\n+CSIM: 4,"6A82"\r\n\r\nOK\r\n'
