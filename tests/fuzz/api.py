"""Schemathesis against the bare `gunicorn wsgi:app`: `python -m tests.fuzz.api`, three minutes on two cores.

Sends thousands of valid and invalid requests generated from the OpenAPI document, with all checks of Schemathesis; see
schemathesis.toml and hooks.py beside this file. Exits with 1 if an answer contradicts the document.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.process import ROOT, serving
from tests.benchmarks.table import print_table

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# One client sends one request at a time, with four images at most and a long deadline, so the server is never busy and
# no deadline passes. Therefore a 503 or 504, which the document allows, counts as an error here.
SETTINGS = {
    "FLASKAPP_CAPTIONER_MODEL": "embedded",
    "FLASKAPP_CAPTIONER_DEADLINE": "300",
    "FLASKAPP_MAX_IMAGES": "4",
    "FLASKAPP_MAX_JOB_IMAGES": "4",
    "FLASKAPP_RATE_LIMIT_LOGIN": "off",  # all requests have one address, which would be limited
    "FLASKAPP_RATE_LIMIT_FAILURES": "off",
}


LOGIN = ("ada", "correct horse")  # as in hooks.py
PROTECTED = {"FLASKAPP_REQUIRE_LOGIN": "true", "FLASKAPP_REGISTRATION": "open"}


def run(
    url: str,
    examples: int,
    seed: int,
    folder: Path,
    login: tuple[str, str] | None = None,
    phases: str = "examples,coverage,fuzzing,stateful",
) -> dict[str, Any]:
    """Return Schemathesis' report for a number of examples of each operation. Its output is passed through.

    A login is saved first and sent with all requests, except with those that test its absence.
    """
    if login:
        username, password = login
        pair = {"username": username, "password": password}
        requests.post(f"{url}/login/", data=pair, timeout=60).raise_for_status()
    report = folder / "report.json"
    program = Path(sys.executable).with_name("schemathesis")
    subprocess.run(
        [
            program, "--config-file", CONFIGURATION, "run", f"{url}/openapi.json", "--url", url,  # "./" is not resolved
            "--max-examples", str(examples), "--phases", phases, "--seed", str(seed), "--report-json-path", report,
            *(["--auth", ":".join(login)] if login else []),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,  # failures are in the report
    )  # fmt: skip
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=700, help="examples of each operation in the fuzzing phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--login", action="store_true", help="fuzz a server with REQUIRE_LOGIN=true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = SETTINGS | (PROTECTED if options.login else {})
        command = "gunicorn --bind 127.0.0.1:{port} wsgi:app"
        with serving(command, Path(sys.executable).parent, folder / "server.log", settings) as server:
            report = run(server.url, options.examples, options.seed, folder, LOGIN if options.login else None)
        tracebacks = (folder / "server.log").read_text().count("Traceback")
    cases = report["test_cases"]
    print_table(
        f"Schemathesis {report['schemathesis_version']}, all checks, seed {options.seed}",
        ["operations", "requests", "failures", "internal errors", "tracebacks in the server's log"],
        [
            [
                str(report["operations"]["tested"]),
                str(cases["generated"]),
                str(cases["with_failures"]),
                str(cases["errored"] + len(report["errors"])),
                str(tracebacks),
            ]
        ],
    )
    if report["exit_code"] or not report["complete"] or tracebacks:
        sys.exit(1)


if __name__ == "__main__":
    main()
