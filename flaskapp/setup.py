"""Builds the package for `pip install ./flaskapp`. Metadata, requirements and license are one folder up."""

import os
from pathlib import Path

from setuptools import setup

SCRIPT = Path(__file__).resolve()

os.chdir(SCRIPT.parent.parent)
setup(script_name=str(SCRIPT))  # the path of the one module to leave out
