"""kombu's broker in a folder, with two repairs: a message is whole or not there, and in that folder alone."""

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
        """A reader takes a file as soon as it has the name of a message, so it gets that when it is written."""
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020}_{uuid.uuid4().hex}"
        try:
            (folder / f"{name}.new").write_text(json.dumps(payload))
            (folder / f"{name}.new").rename(folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise ChannelError("a message cannot be written") from error

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        """The process that removes the file has the message. kombu would first move it to the temporary folder."""
        for file in sorted(Path(self.data_folder_in).iterdir()):
            if file.name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                message = file.read_bytes()
                file.unlink()
            except FileNotFoundError:  # another reader was faster
                continue
            except OSError as error:
                raise ChannelError("a message cannot be taken") from error
            return json.loads(message)
        raise Empty


class Transport(filesystem.Transport):
    Channel = Channel


def options(folder: Path) -> dict[str, Any]:
    """The transport's options for a queue in a folder, which is made if it is missing."""
    messages, control = folder / "messages", folder / "control"
    for part in (messages, control):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"data_folder_in": str(messages), "data_folder_out": str(messages), "control_folder": str(control)}
