"""Shell completion made from the click commands. The scripts ask the installed command for the words that fit. Pure."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

# Where each shell looks for the completion of a command, below a prefix such as /usr or /usr/local.
BASH = "share/bash-completion/completions/{}"
FISH = "share/fish/vendor_completions.d/{}.fish"
ZSH = "share/zsh/site-functions/_{}"
# Debian's zsh has a folder of its own for packages.
ZSH_DEBIAN = "share/zsh/vendor-completions/_{}"


class _Bash(BashComplete):
    """Without a look at the version of bash on the machine that builds this."""

    def source(self) -> str:
        return ShellComplete.source(self)


def scripts(program: str, command: click.Command, *, debian: bool) -> dict[str, str]:
    """The completion scripts of a program, by path below the prefix."""
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    zsh = ZSH_DEBIAN if debian else ZSH
    kinds: tuple[tuple[str, type[ShellComplete]], ...] = ((BASH, _Bash), (FISH, FishComplete), (zsh, ZshComplete))
    return {path.format(program): kind(command, {}, program, variable).source() + "\n" for path, kind in kinds}
