"""The error of the installer."""


class InstallError(RuntimeError):
    """The installation cannot be done as requested. Nothing has changed, unless the text says otherwise."""
