"""The project's documents: their commands with output, code blocks and headings."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
CHANGELOG = ROOT / "CHANGELOG.md"
DOCS = ROOT / "docs"
DOCUMENTS = [README, CONTRIBUTING, *sorted(DOCS.glob("*.md")), *sorted(ROOT.glob("examples/*.md"))]


class Command(NamedTuple):
    """A command in a console block and its documented output."""

    document: Path
    text: str
    output: str


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, language: str) -> list[str]:
    """Return the fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[Command]:
    """Return the commands after `$ ` in the console blocks."""
    found = []
    for block in blocks(document, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, output = entry.partition("\n")
            found.append(Command(document, text, output))
    return found


def all_commands() -> list[Command]:
    return [command for document in DOCUMENTS for command in commands(document)]


def flask_commands(group: str) -> list[Command]:
    """Return the commands `flask --app wsgi GROUP …` from GROUP on."""
    start = ".venv/bin/flask --app wsgi "
    return [
        Command(document, text.removeprefix(start), output)
        for document, text, output in all_commands()
        if text.startswith(f"{start}{group} ")
    ]


def anchors(document: Path) -> set[str]:
    """Return GitHub's anchors of the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
