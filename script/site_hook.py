"""What the site has besides docs/: reference pages made from the code, and pages that stand elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Pages whose place in a checkout is its top folder, where people look for them.
_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
# Links to files of a checkout, outside docs/.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)?((?:containers|script|tests|freeradius)/[^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    sys.path.insert(0, str(ROOT / "script"))
    from reference import PAGES

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
    """Name files of a checkout by their paths: the site does not have them."""
    return _OUTSIDE.sub(
        lambda match: f"`{match[2]}`" if match[2] in match[1] else f"{match[1]} (`{match[2]}`)", markdown
    )
