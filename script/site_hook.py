"""What the site has besides docs/: reference pages made from the code, and pages that stand elsewhere."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Pages whose place in a checkout is its top folder, where people look for them.
_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
# Published by the policy package; a page shows it.
_POLICY_SCHEMA = ROOT / "policy" / "schema" / "policy-2.schema.json"
_POLICY_SCHEMA_PAGE = "reference/policy-schema.md"
# Pages of the navigation that a checkout may lack, because the part that they describe is not in it.
_OPTIONAL = {"operations.md", "quarantine.md", "mud.md", "packages.md", "openwrt.md", _POLICY_SCHEMA_PAGE}
# Links to files of a checkout, outside docs/.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)*((?:containers|script|tests|freeradius)/[^)#\s]+)\)")

# The reason codes in a row of docs/reasons.md.
_CODES = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \|", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave optional pages out of the navigation if they are not there."""
    missing = {path for path in _OPTIONAL if not (ROOT / "docs" / path).exists()}
    if _POLICY_SCHEMA.exists():
        missing.discard(_POLICY_SCHEMA_PAGE)
    config.nav = _without(config.nav or [], missing)
    return config


def _without(entry: Any, missing: set[str]) -> Any:
    """A part of the navigation without some pages: a list of entries, a title with its entry, or a page."""
    if isinstance(entry, list):
        return [kept for kept in (_without(part, missing) for part in entry) if kept]
    if isinstance(entry, dict):
        return {title: kept for title, part in entry.items() if (kept := _without(part, missing))}
    return None if entry in missing else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    sys.path.insert(0, str(ROOT / "script"))
    from reference import PAGES
    from schema_page import schema_page

    if _POLICY_SCHEMA.exists():
        schema = json.loads(_POLICY_SCHEMA.read_text(encoding="utf-8"))
        introduction = (
            "What a policy file of version 2 may contain. [Policy](../policy.md) explains how it works.\n\n"
            "For an editor, name the schema in the first line of the file: "
            f"`# yaml-language-server: $schema=/path/to/{_POLICY_SCHEMA.name}`.\n"
        )
        text = schema_page("Policy schema", introduction, schema)
        files.append(File.generated(config, _POLICY_SCHEMA_PAGE, content=text))
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for source, path in _PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text)
        for name, place in _PAGES.items():
            text = text.replace(f"]({name})", f"]({place})")
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give reason codes anchors. Name files of a checkout by their paths: the site does not have them."""
    if page.file.src_uri == "reasons.md":
        markdown = with_anchors(markdown)
    return _OUTSIDE.sub(
        lambda match: f"`{match[2]}`" if match[2] in match[1] else f"{match[1]} (`{match[2]}`)", markdown
    )


def with_anchors(markdown: str) -> str:
    """Reason codes in the first cells of tables, with anchors: `reasons/#tlsa_absent` is the link to that code."""
    return _CODES.sub(
        lambda match: "| " + re.sub(r"`(\w+)`", r'<span id="\1"></span>`\1`', match[1]) + " |",
        markdown,
    )
