"""The environment of Python programs that this process starts."""

import os
import sys
from pathlib import Path

PROJECT = str(Path(__file__).parents[1])


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment, with a PYTHONPATH from which the program can import what this process can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([PROJECT, *filter(None, sys.path)]), **more}
