"""script/prose.py: each rule finds what it is for, where it is, and leaves its near neighbours alone."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from script import prose

SHIPPED = prose.load_style(prose.ROOT / "script" / "prose-style.yaml")
STYLE = prose.Style.model_validate(
    {
        "documents": [],
        "python": [],
        "max_sentence_words": 10,
        "max_orphan_words": 3,
        "terms": ["TLSA", "DNSSEC", "Unbound", "FreeRADIUS", "Message-Authenticator"],
        "names": ["Aruba AOS-S"],
        "phrases": [{"find": r"\bmend(?:s|ed)?\b", "use": "write 'fix'"}, {"find": "in order to", "use": "write 'to'"}],
    }
)


def of(text: str, style: prose.Style = STYLE, *, python: bool = False) -> list[str]:
    """The problems of a text as `line:column: message`."""
    blocks = prose.python_blocks(text) if python else prose.markdown_blocks(text)
    found = sorted(problem for block in blocks for problem in prose.problems(block, style, python=python))
    return [f"{line}:{column}: {message}" for line, column, message in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A term's spelling.
        ("Publish the tlsa record.", "1:13: 'tlsa' found; write 'TLSA'"),
        ("# Set up Freeradius", "1:10: 'Freeradius' found; write 'FreeRADIUS'"),
        ("| a | b |\n| --- | --- |\n| dnssec | Dnssec |", "3:3: 'dnssec' found; write 'DNSSEC'"),
        ("- one\n- a Message-authenticator", "2:5: 'Message-authenticator' found; write 'Message-Authenticator'"),
        ("See [the unbound page](unbound.md).", "1:10: 'unbound' found; write 'Unbound'"),
        # A banned expression, also across a line's end, and in any letter case.
        ("One.\n\nMend the records.", "3:1: 'Mend' found; write 'fix'"),
        ("Delete it in\norder to revoke the device now.", "1:11: 'in order to' found; write 'to'"),
        # A long sentence, at its first word.
        ("Short. One two three four five six seven eight nine ten eleven.", "1:8: sentence of 11 words found"),
        ("One two three four five six seven eight `nine ten` eleven twelve.", "1:1: sentence of 11 words found"),
        # An orphan, in a paragraph and in a list.
        ("One line of text\nand three words.", "2:1: orphan of 3 word(s) found"),
        ("- One line of text\n  ends `here`", "2:3: orphan of 2 word(s) found"),
        # A capital in a heading.
        ("## Set Up the server", "1:8: capital of 'Up' found; write headings in sentence case"),
        ("## 1. Install The server", "1:15: capital of 'The' found"),
    ],
)
def test_a_problem_is_found_where_it_is(text: str, expected: str) -> None:
    found = of(text)
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize(
    "text",
    [
        "Publish the TLSA record. Names: tlsa.example.net, dnssec/, x_tlsa.",
        "Run `tlsa --mend`, or ``a `mend` b``, and see https://example.net/dnssec and [the page](mend.md).",
        "    mend tlsa in order to\n\n```\nmend tlsa\n```",
        "<!-- mend the tlsa record -->",
        "The amendment of recommended menders.",
        "In ordering to and fro.",
        "One two three four five six seven eight nine ten.",
        "One two three four five six. Seven eight nine ten eleven twelve.",
        "Version 3.2.1 is one word, `one two three four five` is another.",
        "One line of text\nand four more words.",
        "One line.\nAnother line of text\nends here.",
        "One line only.",
        "## Set up FreeRADIUS, DNSSEC and Aruba AOS-S: the TLSA record",
        "## 1. Install the server",
        "| One Title | a |\n| --- | --- |\n| One two | Three Four |",
    ],
)
def test_a_near_neighbour_is_no_problem(text: str) -> None:
    assert of(text) == []


def test_the_second_cell_of_a_row_has_its_own_column() -> None:
    assert of("| a | b |\n| --- | --- |\n| mend | mend |") == [
        "3:3: 'mend' found; write 'fix'",
        "3:10: 'mend' found; write 'fix'",
    ]


MODULE = '''"""A module that mends.

A paragraph of two lines, the second
of which ends.
"""

# A comment of two lines, the second
# ends here.
X = "mend"  # mend


class A:
    """One line, and mended."""

    def method(self) -> None:
        """Two lines of a docstring, and the
        second.

        \\b
        Example:
          mend it
        """
        # One line.

        # A comment of two lines, the second
        # of which is long enough.
'''


def test_docstrings_and_comments_are_checked_for_orphans_and_banned_expressions() -> None:
    assert of(MODULE, python=True) == [
        "1:18: 'mends' found; write 'fix'",
        "4:1: orphan of 3 word(s) found; shorten or rewrap the paragraph",
        "8:3: orphan of 2 word(s) found; shorten or rewrap the paragraph",
        "13:22: 'mended' found; write 'fix'",
        "17:9: orphan of 1 word(s) found; shorten or rewrap the paragraph",
        "21:11: 'mend' found; write 'fix'",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return 'mend'  # mend, at the end of a line\n",
        '"""A list:\n\n- mine\n  yours\n"""\n',
        '"""An example:\n\n    one two\n    three\n"""\n',
        "# tlsa, in any case: terms are for documents\n",
        "# One two three four five six seven eight nine ten eleven twelve.\n",
        "x = '''\n# mend\n'''\n",
    ],
)
def test_code_lists_and_examples_may_be_as_they_are(text: str) -> None:
    assert of(text, python=True) == []


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("a look-up of the name", "a lookup of the name"),
        ("you can lookup the name", "you can look up the name"),
        ("mending the zone", "fixing the zone"),
        ("the set-up", "the setup"),
        ("a time-out", "a timeout"),
        ("for ever", "forever-green"),
        ("please wait", "pleased"),
        ("it simply works", "a simple name"),
        ("just restart it", "discovery just in time, just-in-time trust"),
        ("an easy change", "ease of use"),
        ("of course it does", "the course of an authentication"),
        ("in order to start", "in order of appearance"),
        ("e.g. this", "for example this"),
        ("i.e. that", "that is"),
        ("SSIDs, etc. follow", "the folder /etc/dane-radius"),
        ("TCP vs. UDP", "TCP compared with UDP"),
        ("all appointments are off", "all enrollments are cancelled"),
        ("an outage takes nothing away", "an outage removes nothing"),
        ("the percentiles leave the milliseconds", "p99 exceeds 10 ms"),
        ("a device comes back", "the back of a device"),
        ("a device turns up", "turn it on"),
        ("nobody gets in", "gets interesting"),
        ("a device is let in", "let it be"),
        ("a registry that talks nonsense", "a registry that sends invalid data"),
        ("ask again at leisure", "ask again"),
        ("at the most ten", "at most ten; the most recent one"),
        ("for want of memory", "if you want memory"),
        ("whoever asks", "anyone who asks"),
        ("it is quickly checked by the module", "the module checks it; it is bounded by default; checked by hand"),
        ("the the record", "the other record"),
    ],
)
def test_the_shipped_style_bans_an_expression_and_not_its_neighbour(bad: str, good: str) -> None:
    assert len(of(bad, SHIPPED)) == 1
    assert of(good, SHIPPED) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("documents: [", "style.yaml: while parsing"),
        ("phrases: [{find: '(', use: x}]", "phrases.0.find"),
        ("word: []", "word\n  Extra inputs are not permitted"),
    ],
)
def test_a_broken_style_names_the_key(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "style.yaml"
    path.write_text(text)
    with pytest.raises(click.ClickException) as caught:
        prose.load_style(path)
    assert expected in caught.value.message


def test_the_command_reports_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("Publish the TLSA record.\n")
    bad.write_text("Publish the\ntlsa record, which this sentence is about.\n")
    result = CliRunner().invoke(prose.main, [str(good)])
    assert (result.exit_code, result.output) == (0, "0 problems in 1 files\n")
    result = CliRunner().invoke(prose.main, [str(good), str(bad)])
    assert result.exit_code == 1
    assert result.output == f"{bad}:2:1: 'tlsa' found; write 'TLSA'\n1 problems in 2 files\n"
    assert CliRunner().invoke(prose.main, ["/nonexistent.md"]).exit_code == 2


def test_every_file_that_the_style_names_is_there() -> None:
    for pattern in SHIPPED.documents + SHIPPED.python:
        assert list(prose.ROOT.glob(pattern)), pattern
