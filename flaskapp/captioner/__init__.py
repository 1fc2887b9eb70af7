"""Captions for images. Every view uses the one object `captioner`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.engine_client import EngineClient
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.captioner.service import Captioner
from flaskapp.machine import limit_spins

__all__ = ["Captioner", "Configuration", "GenerationSettings", "captioner"]

if TYPE_CHECKING:
    from flaskapp.captioner.service import Captioner as Interface
else:
    Interface = object


class ChosenCaptioner(Interface):
    """A `Captioner` until `connect`, then an `EngineClient`, which has the same interface."""

    def __init__(self) -> None:
        self._local = Captioner()
        self._chosen: Captioner | EngineClient = self._local

    def connect(self, addresses: Sequence[str]) -> None:
        """Use the engine processes at these Unix sockets from now on."""
        self._chosen = EngineClient(addresses, self._local.deadline)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._chosen, name)


limit_spins()  # before torch is imported
captioner = ChosenCaptioner()
