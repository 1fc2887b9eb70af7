"""The lines of `flask run`, without query strings: the deprecated way of a login has the password there."""

import logging
import re

QUERY = re.compile(r"\?.*?(?= HTTP/\d\.\d\b|$)", re.DOTALL)


class WithoutQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the query string out of Werkzeug's request line, its first argument."""
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], str):
            record.args = (QUERY.sub("", record.args[0]), *record.args[1:])
        return True


_filter = WithoutQueries()


def init_app() -> None:
    logging.getLogger("werkzeug").addFilter(_filter)  # once, however many applications there are
