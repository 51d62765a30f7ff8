"""The error of the installer."""


class InstallError(RuntimeError):
    """The installation cannot be done as requested. Steps before the error stay done; a second run completes them."""
