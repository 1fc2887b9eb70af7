"""The environment of Python child processes."""

import os
import sys
from pathlib import Path

PROJECT = str(Path(__file__).parents[1])


def child_environment(**more: str) -> dict[str, str]:
    """Return this process's environment, with its `sys.path` as PYTHONPATH."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([PROJECT, *filter(None, sys.path)]), **more}
