"""FreeRADIUS's configuration files, as `dane-radius doctor` reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dane_radius.doctor.raddb import Block, expand, parse

CONF = """\
prefix = /usr
libdir = "${prefix}/lib"   # a comment
secret = "a # in quotes"
$INCLUDE clients.conf
thread pool {
	max_servers = 32
	#  max_servers = 99
	nested {
		inner = 1
	}
}
server dane {
	authorize {
		dane_eap_only
		#dane_forgotten
		dane.authenticate {
			reject = 1
		}
		if (&EAP-Message == "{") {
			update control {
				&Auth-Type := Accept
			}
		} else {
			ok
		}
	}
}
security { }
after = yes
"""


def test_blocks_settings_and_includes() -> None:
    root = parse(CONF)
    assert root.settings["secret"] == "a # in quotes"
    assert expand(root.settings["libdir"], root.settings) == "/usr/lib"
    assert root.includes == ["clients.conf"]
    pool = root.find("thread", "pool")
    assert pool is not None
    assert pool.number("max_servers") == 32
    assert pool.number("nested") is None
    assert root.settings["after"] == "yes"


def test_statements_of_a_site() -> None:
    site = parse(CONF).find("server", "dane")
    assert site is not None
    assert site.calls("dane_eap_only")
    assert site.calls("dane.authenticate")
    assert not site.calls("dane_forgotten")
    assert not site.calls("dane")
    assert any("&Auth-Type := Accept" in block.lines for block in site.walk())


def test_the_last_setting_counts() -> None:
    assert parse("a = 1\na = 2\n").settings == {"a": "2"}


def test_numbers_are_numbers() -> None:
    block = parse("a = 5\nb = five\nc = -5\nd = ٣\ne =\n")
    assert [block.number(key) for key in "abcdef"] == [5, None, None, None, None, None]


def test_what_is_not_closed_or_not_opened() -> None:
    assert parse("a {\nb = 1\n").find("a") is not None
    assert parse("}\n}\n} }\nb = 1\n").settings == {"b": "1"}


def test_a_variable_that_contains_itself_ends() -> None:
    assert "${a}" in expand("${a}", {"a": "x${a}"})
    assert expand("${unknown}", {}) == "${unknown}"


@given(st.text(alphabet="ab{}=#\"' \n\t$INCLUDE"))
def test_any_text_is_parsed(text: str) -> None:
    assert isinstance(parse(text), Block)
