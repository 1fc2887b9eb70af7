"""kombu's broker in a folder, with two fixes: messages are written atomically, and not moved to a temporary folder."""

import json
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem


class Channel(filesystem.Channel):
    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]
        """Write the file under another name first: readers take a file as soon as it has the name of a message."""
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020}_{uuid.uuid4().hex}"
        try:
            (folder / f"{name}.new").write_text(json.dumps(payload))
            (folder / f"{name}.new").rename(folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise ChannelError("a message cannot be written") from error

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        """Take the first message. Only the process that removes the file has it. kombu would move the file first."""
        for file in sorted(Path(self.data_folder_in).iterdir()):
            if file.name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                message = file.read_bytes()
                file.unlink()
            except FileNotFoundError:  # another reader took it
                continue
            except OSError as error:
                raise ChannelError("a message cannot be taken") from error
            return json.loads(message)
        raise Empty


class Transport(filesystem.Transport):
    Channel = Channel


def options(folder: Path) -> dict[str, Any]:
    """Create the folders of a queue, and return the transport's options for them."""
    messages, control = folder / "messages", folder / "control"
    for part in (messages, control):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"data_folder_in": str(messages), "data_folder_out": str(messages), "control_folder": str(control)}
