"""The module inside FreeRADIUS: the rlm_python3 interface, and the objects that exist as long as the server runs.

Other packages use only its configuration, which names the policy, the anchors, the resolver and the control socket.
"""

from dane_radius.server.config import DEFAULT_CONFIG, Config, load_config

__all__ = ["DEFAULT_CONFIG", "Config", "load_config"]
