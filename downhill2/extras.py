"""Optional packages: imported when they are needed, with an error that says what to install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["need"]


def need(package: str, extra: str) -> ModuleType:
    """Return an optional package, or a module of it.

    Parameters
    ----------
    package : str
        The name by which it is imported.
    extra : str
        The extra of downhill2 that installs it.

    Raises
    ------
    ImportError
        If it is not installed; says how to install it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or package.partition(".")[0] != error.name.partition(".")[0]:
            raise  # it is installed, but something that it imports is missing
        name = package.partition(".")[0]
        raise ImportError(f"this needs {name}, which is not installed; pip install 'downhill2[{extra}]'") from error
