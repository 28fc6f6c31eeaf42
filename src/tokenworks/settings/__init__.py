"""Everything an operator may turn, a file for each concern. Only `environment.py` reads the environment."""

from tokenworks.settings.engines import EngineSettings, RemoteSettings, RouteSettings
from tokenworks.settings.environment import child_environment, load_settings, notify_socket, remote_key
from tokenworks.settings.identity import IdentitySettings, OidcSettings, RoleSettings
from tokenworks.settings.keeping import LedgerSettings, StoreSettings
from tokenworks.settings.learning import FlywheelSettings, LineSettings
from tokenworks.settings.money import (
    CostSettings,
    DeferralSettings,
    MeterSettings,
    ModelPrice,
    PriceSettings,
    ReasoningSettings,
)
from tokenworks.settings.requests import (
    AdmissionSettings,
    LimitSettings,
    PlatformSettings,
    PolicySettings,
    ServerSettings,
    TelemetrySettings,
)
from tokenworks.settings.settings import Settings

__all__ = [
    "AdmissionSettings",
    "CostSettings",
    "DeferralSettings",
    "EngineSettings",
    "FlywheelSettings",
    "IdentitySettings",
    "LedgerSettings",
    "LimitSettings",
    "LineSettings",
    "MeterSettings",
    "ModelPrice",
    "OidcSettings",
    "PlatformSettings",
    "PolicySettings",
    "PriceSettings",
    "ReasoningSettings",
    "RemoteSettings",
    "RoleSettings",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "child_environment",
    "load_settings",
    "notify_socket",
    "remote_key",
]
