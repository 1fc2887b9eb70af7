"""Where the model is: in this process, or in the engine processes of a server."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flaskapp.captioner.engine_client import EngineClient
from flaskapp.captioner.service import Captioner

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
        """From here on, ask the engine processes that listen to these Unix sockets."""
        self._chosen = EngineClient(addresses, self._local.deadline)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._chosen, name)
