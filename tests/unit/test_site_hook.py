"""What the documentation site adds to the pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "script"))

from site_hook import _without, with_anchors  # noqa: E402  # a script, not a package


def test_each_reason_code_has_one_anchor() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text()
    anchors = re.findall(r'<span id="(\w+)"></span>`\1`', with_anchors(text))
    assert {"dane_match", "tlsa_absent", "policy_no_rule", "san_missing", "san_empty", "internal_error"} <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert re.sub(r'<span id="\w+"></span>', "", with_anchors(text)) == text


def test_optional_pages_leave_the_navigation_and_no_others() -> None:
    navigation = [{"Home": "index.md"}, {"More": [{"A": "a.md"}, "b.md", {"C": [{"D": "d.md"}]}]}]
    assert _without(navigation, {"a.md", "d.md"}) == [{"Home": "index.md"}, {"More": ["b.md"]}]
    assert _without(navigation, set()) == navigation
