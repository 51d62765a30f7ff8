"""Installs the module into a FreeRADIUS configuration, and uninstalls it. All or nothing, whenever it is interrupted.

Pure: `nodes`, what stands at a path; `steps`, plans as values; `places`, the names; `manifest`, the record of what was
installed; `journal`, the record of a run; `builder`, `install_plan`, `uninstall_plan`, `policies`, `server_limits`,
`server_security`. I/O: `tree`, reading and changing without following links; `survey`; `transaction`; `radiusd`, the
server's program and its user. `layout`: paths and options. `installer`: all together.
"""

from dane_radius.install.errors import InstallError
from dane_radius.install.installer import Installer
from dane_radius.install.layout import Layout
from dane_radius.install.survey import remembered_options

__all__ = ["InstallError", "Installer", "Layout", "remembered_options"]
