"""Pictures as docs/performance.md shows them."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.process import ROOT, install_peers


def draw(path: Path, title: str, label: str, panels: Mapping[str, Mapping[str, float]]) -> None:
    """Bars in panels beside each other. It installs matplotlib, with the peers, in an environment apart from ours."""
    command = [install_peers() / "python", "-m", "tests.benchmarks.picture", path]
    shown = {"title": title, "label": label, "panels": panels}
    subprocess.run(command, cwd=ROOT, input=json.dumps(shown), text=True, check=True)
