"""Remove query strings from the log of `flask run`: the deprecated login sends the password in one."""

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
    logging.getLogger("werkzeug").addFilter(_filter)  # adding a filter again has no effect
