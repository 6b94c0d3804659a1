"""Finds and reads configuration files, and the folders of the user."""

from __future__ import annotations

import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from app.errors import ConfigError, in_units
from app.settings.trust import check_found_file

# The configuration file that is looked for in the working folder.
FOUND_NAME = "dragoman.toml"
# The largest configuration file: far more than anybody writes, but still read in a moment.
MAX_BYTES = 8 * 1024 * 1024


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: the first of `path`, $DRAGOMAN_CONFIG, ./dragoman.toml and the user's own, else None.

    Raises ConfigError if one of the first two is named but missing, or if ./dragoman.toml cannot be trusted.
    """
    if path:
        return _existing(path, "--config")
    if named := environ.get("DRAGOMAN_CONFIG"):
        return _existing(Path(named), "DRAGOMAN_CONFIG")
    if _is_file(here := Path.cwd() / FOUND_NAME):
        check_found_file(here)
        return here
    own = user_config_file(environ)
    return own if _is_file(own) else None


def user_config_file(environ: Mapping[str, str]) -> Path:
    """The path of the user's own configuration file, whether or not it exists."""
    if folder := environ.get("XDG_CONFIG_HOME"):
        return Path(folder) / "dragoman" / "config.toml"
    return platformdirs.user_config_path("dragoman", appauthor=False) / "config.toml"


def data_folder() -> Path:
    """The folder for everything that survives a restart, unless a setting names another one. It may not exist yet."""
    return platformdirs.user_data_path("dragoman", appauthor=False)


def home_folder(environ: Mapping[str, str]) -> Path:
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path.home()
    except RuntimeError:
        # A container's user may have neither HOME nor an entry in passwd. Nothing is ever found below this path.
        return Path("/nonexistent")


def _existing(path: Path, key: str) -> Path:
    if not _is_file(path):
        raise ConfigError(f"the file {path} does not exist", key=key)
    return path.absolute()


def _is_file(path: Path) -> bool:
    """Whether `path` is a regular file. Unlike `Path.is_file`, raises ConfigError if that cannot be found out."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def read_text(source: Path) -> str:
    try:
        if source.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{source} is larger than {in_units(MAX_BYTES)}")
        return source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        problem = (
            "is UTF-16; save it as UTF-8"
            if error.object.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
            else f"is not valid TOML: {error}"
        )
        raise ConfigError(f"{source} {problem}") from error


def is_blank_file(source: Path) -> bool:
    """Whether a file holds only comments and blank lines, as when an editor is just about to write it."""
    try:
        with source.open("rb") as file:
            lines = file.read(MAX_BYTES).splitlines()
    except OSError:
        return False
    return all(not line.strip() or line.lstrip().startswith(b"#") for line in lines)
