"""The module inside FreeRADIUS: the seam to the server, and everything that lives as long as the server does.

Other processes use only its configuration file, which says where policy, anchors, resolver and control socket are.
"""

from dane_radius.server.config import DEFAULT_CONFIG, Config, load_config

__all__ = ["DEFAULT_CONFIG", "Config", "load_config"]
