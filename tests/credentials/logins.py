"""Credential files in the forms of the programs that own them, and the settings that use them."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from app.credentials.login_source import LoginSource
from app.credentials.sources import open_source
from app.settings import ProviderSettings
from tests.credentials.issuer import Issuer, make_jwt

KINDS = ("oca", "anthropic", "codex")

FILE_NAMES = {"oca": "secrets.json", "anthropic": ".credentials.json", "codex": "auth.json"}


class LoginFile:
    """A login of `kind` in `folder`; its tokens expire in `left` seconds."""

    def __init__(self, kind: str, folder: Path, issuer: Issuer, left: float = -60) -> None:
        self.kind = kind
        self.issuer = issuer
        self.folder = folder
        self.path = folder / FILE_NAMES[kind]
        self.write(expired_access(kind, left), issuer.newest, left)

    def write(self, access: str, refresh: str | None, left: float = 3600, **more: Any) -> None:
        new = self.path.with_name("new")
        new.write_text(json.dumps(self.document(access, refresh, left) | more))
        os.chmod(new, 0o600)
        new.replace(self.path)

    def document(self, access: str, refresh: str | None, left: float) -> dict[str, Any]:
        moment = time.time() + left
        match self.kind:
            case "oca":
                return {"ocaApiKey": access, "ocaRefreshToken": refresh, "otherKey": "keep"}
            case "anthropic":
                login = {"accessToken": access, "refreshToken": refresh, "expiresAt": int(moment * 1000)}
                return {"claudeAiOauth": login | {"subscriptionType": "max"}, "otherKey": "keep"}
            case _:
                tokens = {"access_token": access, "refresh_token": refresh, "account_id": "acc-1", "id_token": "i"}
                renewed = datetime.now(UTC).isoformat()
                return {"auth_mode": "chatgpt", "tokens": tokens, "last_refresh": renewed, "otherKey": "keep"}

    @property
    def content(self) -> dict[str, Any]:
        content = json.loads(self.path.read_text())
        assert isinstance(content, dict)
        return content

    @property
    def pair(self) -> tuple[str, str]:
        """Access and refresh token that the file holds."""
        content = self.content
        match self.kind:
            case "oca":
                return content["ocaApiKey"], content["ocaRefreshToken"]
            case "anthropic":
                return content["claudeAiOauth"]["accessToken"], content["claudeAiOauth"]["refreshToken"]
            case _:
                return content["tokens"]["access_token"], content["tokens"]["refresh_token"]

    @property
    def settings(self) -> ProviderSettings:
        match self.kind:
            case "oca":
                return ProviderSettings(kind="oca", token_file=str(self.path), idcs_url=self.issuer.url)
            case _:
                url = f"{self.issuer.url}/oauth/token"
                return ProviderSettings(kind=self.kind, credentials_file=str(self.path), oauth_token_url=url)

    def open(self, **more: Any) -> LoginSource:
        source = open_source(
            self.settings, {"XDG_RUNTIME_DIR": str(self.folder)}, self.folder, requests.Session, **more
        )
        assert isinstance(source, LoginSource)
        return source


def expired_access(kind: str, left: float = -60) -> str:
    return "sk-ant-oat01-access-secret-old" if kind == "anthropic" else make_jwt(left, number=0)
