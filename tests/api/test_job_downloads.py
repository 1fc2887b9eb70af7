"""Results as files: a byte order mark for Excel, and a name for browsers."""

import pytest
from flask.testing import FlaskClient

from tests.api.test_caption_jobs import UNKNOWN_JOB, submit, work
from tests.conftest import assert_error


@pytest.fixture
def job(client: FlaskClient) -> str:
    """Return the location of a done job."""
    location = submit(client, "star.png").headers["Location"]
    work(client)
    return location


def test_the_csv_has_a_byte_order_mark_only_on_request(client: FlaskClient, job: str) -> None:
    plain = client.get(job + "/results?format=csv").data
    assert plain.startswith(b"index,")
    assert client.get(job + "/results?format=csv&bom=true").data == b"\xef\xbb\xbf" + plain
    assert client.get(job + "/results?format=csv&bom=false").data == plain
    lines = client.get(job + "/results?format=jsonl").data
    assert client.get(job + "/results?format=jsonl&bom=true").data == lines, "JSON has none (RFC 8259, section 8.1)"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_download_has_a_file_name_only_on_request(client: FlaskClient, job: str, format: str) -> None:
    shown = client.get(f"{job}/results?format={format}")
    assert "Content-Disposition" not in shown.headers
    saved = client.get(f"{job}/results?format={format}&download=true")
    name = f"captions-{job.rpartition('/')[2]}.{format}"
    assert saved.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert (saved.data, saved.mimetype) == (shown.data, shown.mimetype)


@pytest.mark.parametrize("field", ["bom", "download"])
@pytest.mark.parametrize("value", ["1", "True", "yes", ""])
def test_a_value_other_than_true_or_false_is_named(client: FlaskClient, field: str, value: str) -> None:
    assert_error(client.get(f"{UNKNOWN_JOB}/results?format=csv&{field}={value}"), 422, "query", field)
