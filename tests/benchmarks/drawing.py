"""Charts of docs/performance.md."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.process import PEERS, ROOT


def draw(path: Path, title: str, label: str, panels: Mapping[str, Mapping[str, float]]) -> None:
    """Draw bars in panels side by side, with matplotlib from the peers' environment."""
    command = [PEERS.install() / "python", "-m", "tests.benchmarks.picture", path]
    shown = {"title": title, "label": label, "panels": panels}
    subprocess.run(command, cwd=ROOT, input=json.dumps(shown), text=True, check=True)
