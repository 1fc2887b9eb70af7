"""Remove query strings from the log of `flask run`: the deprecated login has the password there."""

import logging
import re

QUERY = re.compile(r"\?.*?(?= HTTP/\d\.\d\b|$)", re.DOTALL)


class WithoutQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the query string from the first argument, which is Werkzeug's request line."""
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], str):
            record.args = (QUERY.sub("", record.args[0]), *record.args[1:])
        return True


_filter = WithoutQueries()


def init_app() -> None:
    logging.getLogger("werkzeug").addFilter(_filter)  # a filter is added once only
