"""All settings."""

from aios.config.loading import load, parse
from aios.config.settings import (
    AccessSettings,
    BrowserSettings,
    ContextSettings,
    CoreSettings,
    Eviction,
    GroupSettings,
    MemorySettings,
    ProcessSettings,
    SchedulerSettings,
    Section,
    ServerSettings,
    Settings,
    SharedRoot,
    StateSettings,
    StorageSettings,
    ToolSettings,
)

__all__ = [
    "AccessSettings",
    "BrowserSettings",
    "ContextSettings",
    "CoreSettings",
    "Eviction",
    "GroupSettings",
    "MemorySettings",
    "ProcessSettings",
    "SchedulerSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "SharedRoot",
    "StateSettings",
    "StorageSettings",
    "ToolSettings",
    "load",
    "parse",
]
