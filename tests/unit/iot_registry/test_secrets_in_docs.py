"""Secrets in the documentation's commands: not in arguments, which every user of the machine can read in `ps`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "registry.md"
# curl's ways to give credentials as an argument.
EXPOSED = re.compile(
    r"\s(?:-u|--user|--oauth2-bearer|--proxy-user)[\s=]|-H\s*[\"']?Authorization|https?://[^/\s\"']*:[^/\s\"']*@"
)


def commands(text: str) -> list[str]:
    """The shell commands of a page's code blocks; continued lines are joined."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"(?:^    .*\n)+", text, re.M)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def exposed(text: str) -> list[str]:
    return [line for line in commands(text) if "curl" in line and EXPOSED.search(line)]


def test_no_command_of_the_page_has_a_secret_in_its_arguments() -> None:
    text = PAGE.read_text()
    assert any("simpleenroll" in line for line in commands(text))
    assert exposed(text) == []


@pytest.mark.parametrize(
    "command",
    [
        'curl -u "$name:$token" https://registry.example/',
        "curl --user name:token https://registry.example/",
        "curl \\\n  -H 'Authorization: Bearer irk_x' https://registry.example/",
        "curl https://name:token@registry.example/",
    ],
)
def test_a_command_that_has_one_is_found(command: str) -> None:
    assert exposed(f"```sh\n{command}\n```\n")
