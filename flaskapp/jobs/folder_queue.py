"""kombu's broker in a folder, with one repair: a message is there as a whole or not at all."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem


class Channel(filesystem.Channel):
    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]
        """A reader takes a file as soon as it has the name of a message, so it gets that when it is written."""
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020}_{uuid.uuid4().hex}"
        try:
            (folder / f"{name}.new").write_text(json.dumps(payload))
            (folder / f"{name}.new").rename(folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise ChannelError("a message cannot be written") from error


class Transport(filesystem.Transport):
    Channel = Channel


def options(folder: Path) -> dict[str, Any]:
    """The transport's options for a queue in a folder, which is made if it is missing."""
    parts = {name: folder / name for name in ("messages", "taken", "control")}
    for part in parts.values():
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    messages, taken, control = (str(part) for part in parts.values())
    return {
        "data_folder_in": messages,
        "data_folder_out": messages,
        "processed_folder": taken,
        "control_folder": control,
    }
