import re

from flaskapp.settings import PREFIX, SETTINGS
from tests.documents import DOCS, DOCUMENTS


def shown(default: object) -> str:
    if default is None:
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_the_documented_table_of_settings_equals_the_code_s() -> None:
    text = (DOCS / "settings.md").read_text()
    rows = re.findall(rf"^\| `{PREFIX}_(\w+)` \| (.*?) \| (.*) \|$", text, flags=re.MULTILINE)
    assert rows == [(setting.name, shown(setting.default), setting.help) for setting in SETTINGS]


def test_help_texts_name_other_settings_in_full() -> None:
    names = "|".join(setting.name for setting in SETTINGS)
    helps = {setting.name: setting.help for setting in SETTINGS}
    assert {name: text for name, text in helps.items() if re.search(rf"(?<![A-Z_])(?:{names})(?![A-Z_])", text)} == {}


def test_every_documented_setting_exists() -> None:
    named = {name for each in DOCUMENTS for name in re.findall(rf"{PREFIX}_([A-Z_]+)", each.read_text())}
    assert named - {setting.name for setting in SETTINGS} == set()
