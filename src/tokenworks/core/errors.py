"""One small tree of errors. Each message names what was wrong, where, and the way out."""

from __future__ import annotations


class TokenworksError(Exception):
    """The root of every error that Tokenworks raises on purpose."""

    exit_code = 1


class ConfigError(TokenworksError):
    """A settings or task file, or an option, says something that cannot be meant."""

    exit_code = 2


class DataError(TokenworksError):
    """The user's documents or examples cannot be used as they are."""

    exit_code = 3


class StoreError(TokenworksError):
    """The catalog or the artifact store cannot do what was asked."""

    exit_code = 4


class NotFoundError(StoreError):
    """A named thing does not exist."""


class ErasedError(NotFoundError):
    """A thing that was here was erased on request: it is not lost, and will not come back."""


class ConflictError(StoreError):
    """A thing of this name, or a competing change, is already there."""


class IntegrityError(StoreError):
    """Bytes on disk are not the bytes that were recorded: damaged or tampered with."""


class EngineError(TokenworksError):
    """An engine cannot be started, has died, or answered with something unusable."""

    exit_code = 5


class MissingExtraError(TokenworksError):
    """A capability needs an optional package that is not installed."""

    exit_code = 6

    def __init__(self, capability: str, extra: str) -> None:
        super().__init__(f"{capability} needs the extra '{extra}': pip install 'tokenworks[{extra}]'")


class RefusedError(TokenworksError):
    """A rule of the house says no: an unsigned model, a missing owner, a lost gate."""

    exit_code = 7
