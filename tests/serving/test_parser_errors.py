import pytest
from gunicorn.http import errors

from flaskapp.serving.parser_errors import status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.LimitRequestLine(5000, 4094), 414),
        (errors.LimitRequestHeaders("too many"), 431),
        (errors.InvalidRequestLine("GET"), 400),
        (errors.InvalidHeaderName("a b"), 400),
        (errors.UnsupportedTransferCoding("gzip"), 501),
        (errors.ConfigurationProblem("not under SCRIPT_NAME"), 404),
        (errors.InvalidResponseHeader("two\nlines"), 500),
        (ZeroDivisionError(), 500),
    ],
)
def test_each_error_of_the_parser_has_its_status_and_any_other_is_ours(error: Exception, status: int) -> None:
    assert status_of(error) == status
