"""Schemathesis against the bare `gunicorn wsgi:app`: `python -m tests.fuzz.api`, three minutes on two cores.

Thousands of requests made from the OpenAPI document, allowed ones and others, with all checks of Schemathesis on; see
schemathesis.toml and hooks.py beside this file. Exits with 1 if one of them was answered in another way than the
document has it.
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
# One client sends one request at a time, of four images at most, and has patience: the server is never busy and no
# deadline passes. So a 503 or a 504, which the document allows, is an error here, and no check has to let it pass.
SETTINGS = {
    "FLASKAPP_CAPTIONER_MODEL": "embedded",
    "FLASKAPP_CAPTIONER_DEADLINE": "300",
    "FLASKAPP_MAX_IMAGES": "4",
    "FLASKAPP_MAX_JOB_IMAGES": "4",
    "FLASKAPP_RATE_LIMIT_LOGIN": "off",  # so that logins are looked at, from one address as they all come
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
    """Schemathesis' own report of so many examples of each operation. What it says goes to our output as it comes.

    With a login it is saved first, and goes with all requests but those that shall be refused without.
    """
    if login:
        username, password = login
        pair = {"username": username, "password": password}
        requests.post(f"{url}/login/", data=pair, timeout=60).raise_for_status()
    report = folder / "report.json"
    program = Path(sys.executable).with_name("schemathesis")
    subprocess.run(
        [
            program, "--config-file", CONFIGURATION, "run", f"{url}/openapi.json", "--url", url,  # it resolves no "./"
            "--max-examples", str(examples), "--phases", phases, "--seed", str(seed), "--report-json-path", report,
            *(["--auth", ":".join(login)] if login else []),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,  # it fails if it found something: the report says what
    )  # fmt: skip
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=700, help="of each operation in the phase of fuzzing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--login", action="store_true", help="of a server with REQUIRE_LOGIN=true")
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
        ["operations", "requests", "failures", "errors of its own", "tracebacks in the server's log"],
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
