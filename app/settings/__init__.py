"""The settings: frozen tables, which are read once and passed on.

No other part of the program reads the environment or the configuration file.
"""

from app.settings.loading import load_settings, locate
from app.settings.masking import find_secrets, fingerprint, masked
from app.settings.places import data_folder, find_config
from app.settings.tables import (
    AccountsSettings,
    AlertsSettings,
    Finding,
    HooksSettings,
    KeySettings,
    LedgerSettings,
    LimitsSettings,
    ModelsSettings,
    PermissionsSettings,
    PriceSettings,
    PriceStep,
    Profile,
    ProviderSettings,
    PushSettings,
    RawLogSettings,
    RouteSettings,
    ServerSettings,
    Settings,
    SharedSettings,
)
from app.settings.writing import find_document, write_settings

__all__ = [
    "AccountsSettings",
    "AlertsSettings",
    "Finding",
    "HooksSettings",
    "KeySettings",
    "LedgerSettings",
    "LimitsSettings",
    "ModelsSettings",
    "PermissionsSettings",
    "PriceSettings",
    "PriceStep",
    "Profile",
    "ProviderSettings",
    "PushSettings",
    "RawLogSettings",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "SharedSettings",
    "data_folder",
    "find_config",
    "find_document",
    "find_secrets",
    "fingerprint",
    "load_settings",
    "locate",
    "masked",
    "write_settings",
]
