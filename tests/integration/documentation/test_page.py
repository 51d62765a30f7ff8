"""What a page has to carry out, and what counts as its promised output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.documentation.page import Block, Commands, PageError, TextFile, blocks, matches


def read(tmp_path: Path, text: str) -> list[Block]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return blocks(page)


def test_blocks_are_found_in_their_order(tmp_path: Path) -> None:
    text = (
        "# Title\n\n```sh\none\n```\n\n```text\noutput\n```\n\n"
        '1. In a list:\n\n    ```yaml title="/etc/a.yaml"\n    a: 1\n    ```\n\n'
        "<!-- exit code 2 -->\n\n```sh\ntwo\n```\n\nAnd\n\n```text\nnot an output\n```\n\n```python\nread me\n```\n"
    )
    assert read(tmp_path, text) == [
        Commands(3, "one\n", 0, "output\n"),
        TextFile(13, "/etc/a.yaml", "a: 1\n"),
        Commands(19, "two\n", 2, None),
    ]


def test_an_output_belongs_to_the_commands_directly_before_it(tmp_path: Path) -> None:
    assert read(tmp_path, "```text\nx\n```\n\n```sh\none\n```\n\n```text\ny\n```\n\n```text\nz\n```\n") == [
        Commands(5, "one\n", 0, "y\n")
    ]


@pytest.mark.parametrize("behind", ['```text title="/a"\nx\n```\n', "```python\nx\n```\n"])
def test_an_exit_code_without_commands_is_an_error(tmp_path: Path, behind: str) -> None:
    with pytest.raises(PageError, match=r"page\.md:3: commands expected"):
        read(tmp_path, f"<!-- exit code 1 -->\n\n{behind}")


@pytest.mark.parametrize(
    ("promised", "printed"),
    [
        ("a\nb\n", "a\nb\n"),
        ("a …\n", "a long line\n"),
        ("…a…\n", "xxaxx\n"),
        ("a\n…\nd\n", "a\nb\nc\nd\n"),
        ("a\n…\nd\n", "a\nd\n"),
        ("a\n…\n", "a\n"),
        ("a.b\n", "a.b   \n\n"),
    ],
)
def test_a_promise_is_kept(promised: str, printed: str) -> None:
    assert matches(promised, printed)


@pytest.mark.parametrize(
    ("promised", "printed"),
    [
        ("a\nb\n", "a\n"),
        ("a\n", "a\nb\n"),
        ("a …\n", "a\n"),
        ("a …\n", "a long\nline\n"),
        ("…\nd\n", "a\nb\n"),
        ("a.b\n", "axb\n"),
        ("  a\n", "a\n"),
    ],
)
def test_a_promise_is_broken(promised: str, printed: str) -> None:
    assert not matches(promised, printed)
