"""Build the package for `pip install ./flaskapp`. Metadata, requirements and license are in the parent folder."""

import os
from pathlib import Path

from setuptools import setup

SCRIPT = Path(__file__).resolve()

os.chdir(SCRIPT.parent.parent)
setup(script_name=str(SCRIPT))  # setuptools leaves this module out of the package
