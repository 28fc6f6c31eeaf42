"""The whole configuration, every section of it in a field. It knows nothing of where values come from."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tokenworks.settings.engines import EngineSettings, RouteSettings
from tokenworks.settings.identity import IdentitySettings
from tokenworks.settings.keeping import LedgerSettings, StoreSettings
from tokenworks.settings.learning import FlywheelSettings, LineSettings
from tokenworks.settings.money import (
    CostSettings,
    DeferralSettings,
    MeterSettings,
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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, typed. Every field has a default that works on a bare machine."""

    home: str = "~/.tokenworks"
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    identity: IdentitySettings = IdentitySettings()
    admission: AdmissionSettings = AdmissionSettings()
    prices: PriceSettings = PriceSettings()
    meter: MeterSettings = MeterSettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    line: LineSettings = LineSettings()
    engines: EngineSettings = EngineSettings()
    flywheel: FlywheelSettings = FlywheelSettings()
    platform: PlatformSettings = PlatformSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    costs: CostSettings = CostSettings()
    deferral: DeferralSettings = DeferralSettings()
    policy: PolicySettings = PolicySettings()
    routes: dict[str, RouteSettings] = {}  # by alias
    reasoning: ReasoningSettings = ReasoningSettings()

    @property
    def home_path(self) -> Path:
        """The folder in which everything is kept."""
        return Path(self.home).expanduser().resolve()

    @property
    def catalog_url(self) -> str:
        """The SQLAlchemy URL of the catalog."""
        return self.store.catalog or f"sqlite:///{self.home_path / 'catalog.db'}"

    @property
    def artifacts_url(self) -> str:
        """The folder or S3 URL of the artifacts."""
        return self.store.artifacts or str(self.home_path / "artifacts")

    @property
    def threads(self) -> int:
        """Cores that compute may use."""
        return self.line.threads or len(os.sched_getaffinity(0))
