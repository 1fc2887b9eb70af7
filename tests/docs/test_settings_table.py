import re

from flaskapp.settings import PREFIX, SETTINGS
from tests.documents import DOCS, DOCUMENTS


def shown(default: object) -> str:
    if default is None:
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_the_table_of_settings_is_the_one_of_the_code() -> None:
    text = (DOCS / "settings.md").read_text()
    rows = re.findall(rf"^\| `{PREFIX}_(\w+)` \| (.*?) \| (.*) \|$", text, flags=re.MULTILINE)
    assert rows == [(setting.name, shown(setting.default), setting.help) for setting in SETTINGS]


def test_every_setting_that_a_document_names_exists() -> None:
    named = {name for each in DOCUMENTS for name in re.findall(rf"{PREFIX}_([A-Z_]+)", each.read_text())}
    assert named - {setting.name for setting in SETTINGS} == set()
