"""Installs the module into a FreeRADIUS configuration, and uninstalls it.

`layout`: the paths and options. `manifest`: the record of what was installed. `files`: writing files and folders.
`installer`: the steps. `server_limits`: the limits in radiusd.conf. `radiusd`: the server's program and its user.
"""

from dane_radius.install.errors import InstallError
from dane_radius.install.installer import Installer
from dane_radius.install.layout import Layout

__all__ = ["InstallError", "Installer", "Layout"]
