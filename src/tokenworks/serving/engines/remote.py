"""Any OpenAI-compatible server as an engine. It has no process of ours: the pool talks to its address directly.

Text leaves this machine only when an operator has written the address into the settings.
"""

from __future__ import annotations

from pathlib import Path

from tokenworks.core.errors import ConfigError
from tokenworks.serving.address import Address, parse_address
from tokenworks.serving.engine import Options


def serves(folder: Path) -> bool:
    """Return False: a folder of ours is never sent anywhere, an address has to be configured."""
    return False


def address(options: Options, *, model: str = "") -> Address:
    """Return where the other server is; `model` is the name it knows the model by."""
    if not options.url:
        raise ConfigError("engine 'remote' has no address: set engines.remote_url = \"https://host:8000/v1\"")
    return parse_address(options.url, key=options.key, model=model)
