"""The names of all files, links and folders that an installation consists of. Nothing else is ever changed.

Paths below raddb are relative to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dane_radius.install.manifest import MANIFEST, StockLink

# In the order in which they are written. Policies come first, because sites call them.
POLICY_FILE = "policy.d/dane"
RADDB_FILES = (
    "mods-config/dane/wait.pl",
    "mods-available/dane",
    "mods-available/dane_eap",
    "mods-available/dane_seen",
    "mods-available/dane_sql",
    "mods-available/dane_wait",
    "sites-available/dane",
    "sites-available/dane-check",
)
# In the order in which they are enabled: each starts only with those before it. `dane-check` calls three modules,
# `dane_eap` names `dane-check`, and the site that receives packets uses all.
ENABLED = {
    "mods-enabled/dane": "../mods-available/dane",
    "mods-enabled/dane_wait": "../mods-available/dane_wait",
    "mods-enabled/dane_seen": "../mods-available/dane_seen",
    "sites-enabled/dane-check": "../sites-available/dane-check",
    "mods-enabled/dane_eap": "../mods-available/dane_eap",
}
SITE, SITE_TARGET = "sites-enabled/dane", "../sites-available/dane"
ACCOUNTING, ACCOUNTING_TARGET = "mods-enabled/dane_sql", "../mods-available/dane_sql"
STOCK_SITE: StockLink = "sites-enabled/default"
# Stock sites that listen on the same ports, or that need the stock eap module, which is last. Only their links are
# removed, and the removal of the installation restores them.
DISPLACED: tuple[StockLink, ...] = (STOCK_SITE, "sites-enabled/inner-tunnel", "mods-enabled/eap")
# A site that exists only between the first and the last change of a link. An eap module starts only if a site
# authenticates with it, and such a site only with the module. This one stands in for the site, and receives no packets.
# The stock eap module needs the other types too.
STAND_IN = "sites-enabled/dane-stand-in"
STAND_IN_TEXT = """\
#  Written by "dane-radius install" while it works. If you find this file, run the command again.
server dane-stand-in {
	authenticate {
		Auth-Type dane_eap {
			reject
		}
		Auth-Type eap {
			reject
		}
		Auth-Type PAP {
			reject
		}
		Auth-Type CHAP {
			reject
		}
		Auth-Type MS-CHAP {
			reject
		}
	}
}
"""
FOLDER = "mods-config/dane"
RADIUSD_CONF = "radiusd.conf"
# The folders of every FreeRADIUS 3 configuration that an installation writes into.
STOCK_FOLDERS = ("mods-available", "mods-config", "mods-enabled", "policy.d", "sites-available", "sites-enabled")
# The files in the configuration folder of this package.
SETTINGS = ("policy.yaml", "dane-radius.toml")


def beside(path: Path) -> Path:
    """Where the new version of a file is put that the operator has changed.

    The server reads each file in policy.d whose name does not start with a dot.
    """
    return path.with_name(f"{'.' if path.parent.name == 'policy.d' else ''}{path.name}.dane-new")


SETTINGS_NAMES = frozenset({*SETTINGS, *(beside(Path(name)).name for name in SETTINGS)})


def paths_inside(raddb: Path) -> frozenset[Path]:
    """All paths below raddb that an installation changes."""
    files = {raddb / name for name in (POLICY_FILE, *RADDB_FILES)}
    others = (
        FOLDER,
        *ENABLED,
        SITE,
        STAND_IN,
        ACCOUNTING,
        *DISPLACED,
        RADIUSD_CONF,
        MANIFEST,
        f"{POLICY_FILE}.dane-new",
    )
    return frozenset(files | {beside(path) for path in files} | {raddb / name for name in others})


def folders_of(raddb: Path, outside: Iterable[Path]) -> frozenset[Path]:
    """The folders that an installation may make: one below raddb; and `outside` with the folders that contain them."""
    return frozenset({raddb / FOLDER} | {folder for path in outside for folder in (path, *path.parents[:-1])})


def settings_paths(config_dir: Path) -> frozenset[Path]:
    """The settings files in `config_dir`, and their new versions."""
    return frozenset(config_dir / name for name in SETTINGS_NAMES)
