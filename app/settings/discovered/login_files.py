"""The files in which each provider's programs store their logins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def find_oca_files(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Token files of Oracle Code Assist, the preferred one first."""
    cache = Path(environ.get("OCA_CACHE_DIR") or home / ".oca")
    return (
        *_given(environ, "OCA_ACCESS_TOKEN_FILE"),
        own_oca_file(home),
        find_cline_settings(environ, home)[0],
        _cline_folder(environ, home) / "secrets.json",
        cache / "token.json",
        home / ".oca" / "token",
        _codex_folder(environ, home) / "oca-secrets.json",
    )


def find_cline_settings(environ: Mapping[str, str], home: Path) -> tuple[Path, Path]:
    """Cline's file of providers, which has their logins too, and that of older versions."""
    folder = _cline_folder(environ, home)
    providers = environ.get("CLINE_PROVIDER_SETTINGS_PATH") or folder / "settings" / "providers.json"
    return Path(providers), folder / "globalState.json"


def _cline_folder(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("CLINE_DATA_DIR") or home / ".cline" / "data")


def own_oca_file(home: Path) -> Path:
    """The file with this program's own OCA login, which oca-proxy reads and writes too."""
    return home / ".oca" / "refresh_token.json"


def find_claude_files(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Login files of Claude's programs; only the one in CLAUDE_CREDENTIALS_PATH if that is set."""
    given = _given(environ, "CLAUDE_CREDENTIALS_PATH")
    if given:
        return given
    folder = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    return (
        folder / ".credentials.json",
        folder / "credentials.json",
        home / ".config" / "claude" / ".credentials.json",
    )


def find_codex_files(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """The login file of Codex."""
    return (_codex_folder(environ, home) / "auth.json",)


def _codex_folder(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("CODEX_HOME") or home / ".codex")


def _given(environ: Mapping[str, str], variable: str) -> tuple[Path, ...]:
    value = environ.get(variable)
    return (Path(value).expanduser(),) if value else ()
