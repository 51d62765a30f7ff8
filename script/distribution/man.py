"""Manual pages (section 1) made from the click commands: one page for each command. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

import click

_OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")


def pages(program: str, command: click.Command, version: str, epoch: int) -> dict[str, str]:
    """The pages of a program, by file name. `epoch`: seconds since 1970, for the date on the pages."""
    date = datetime.datetime.fromtimestamp(epoch, datetime.UTC).date().isoformat()
    found = {}
    for context in _contexts(_context(command, program)):
        name = _page_name(context)
        found[f"{name}.1"] = _page(context, name, f"{program} {version}", date)
    return found


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """The command's context, and those of all commands below it."""
    yield context
    for name in _children(context):
        assert isinstance(context.command, click.Group)
        child = context.command.get_command(context, name)
        assert child is not None
        yield from _contexts(_context(child, name, context))


def _children(context: click.Context) -> list[str]:
    """The names of the commands directly below, without hidden ones."""
    group = context.command
    if not isinstance(group, click.Group):
        return []
    commands = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [name for name, command in commands if command is not None and not command.hidden]


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(context: click.Context, name: str, source: str, date: str) -> str:
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH {_quote(name.upper())} 1 {_quote(date)} {_quote(source)} "User commands"',
        # A line ends between words, and is not stretched: most words here are typed as they are.
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(command.get_short_help_str(limit=500).rstrip('.') or name)}",
        ".SH SYNOPSIS",
        f".B {_text(context.command_path)}",
        _text(usage),
        ".SH DESCRIPTION",
        *_description(command.help or ""),
        *_options(context),
        *_commands(context),
        *_see_also(context),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _description(text: str) -> Iterator[str]:
    """The paragraphs of a help text. click marks paragraphs whose lines stay as they are with a backspace."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", re.sub(r"^ {4}", "", text.strip(), flags=re.MULTILINE))):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *(_text(line) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _options(context: click.Context) -> Iterator[str]:
    records = [record for param in context.command.get_params(context) if (record := param.get_help_record(context))]
    if records:
        yield ".SH OPTIONS"
    for names, text in records:
        yield ".TP"
        yield f".B {_text(names)}"
        yield _text(" ".join(text.split())) or "\\&"


def _commands(context: click.Context) -> Iterator[str]:
    children = _children(context)
    if children:
        yield ".SH COMMANDS"
    for name in children:
        assert isinstance(context.command, click.Group)
        child = context.command.get_command(context, name)
        assert child is not None
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(child.get_short_help_str(limit=500))


def _see_also(context: click.Context) -> Iterator[str]:
    names = [f"{_page_name(context)}-{name}" for name in _children(context)]
    if context.parent is not None:
        names.insert(0, _page_name(context.parent))
    if names:
        yield ".SH SEE ALSO"
        yield " ,\n".join(f".BR {_text(name)} (1)" for name in names)


def _text(text: str) -> str:
    """Plain text as roff: nothing in it is a request, and option names can be copied with their hyphens.

    A line may end between alternatives.
    """
    text = text.replace("\\", "\\e").replace("\b", "").replace("|", "|\\:")
    text = _OPTION.sub(lambda match: match[1].replace("-", "\\-"), text)
    text = text.replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")
    return re.sub(r"^(?=[.])", r"\\&", text, flags=re.MULTILINE)


def _quote(text: str) -> str:
    return '"' + _text(text).replace('"', "\\(dq") + '"'
