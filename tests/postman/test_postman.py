import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.conftest import ASSETS, Server, skip_unless_ci

FILES = ("package.json", "package-lock.json", "run.js")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.mark.slow
def test_postman_imports_the_openapi_document_and_each_example_succeeds(server: Server, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        skip_unless_ci("npm is not installed")
    folder = tmp_path / "postman"  # what npm installs does not lie in the checkout
    folder.mkdir()
    (tmp_path / "assets").symlink_to(ASSETS)
    for name in FILES:
        shutil.copy(Path(__file__).with_name(name), folder)
    install = [str(npm), "ci", "--no-audit", "--no-fund", "--fetch-timeout", "30000"]  # milliseconds; it tries 3 times
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=200)
    if installed.returncode:
        skip_unless_ci(f"npm could not install: {installed.stderr[-500:]}")
    run = subprocess.run([str(npm), "start", server.url], cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout
    paths = requests.get(server.url + "/openapi.json", timeout=30).json()["paths"]
    assert run.stdout.count("is answered\n") == sum(len(METHODS & item.keys()) for item in paths.values()), run.stdout
