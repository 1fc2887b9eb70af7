"""The field of a job that names the receiver of its webhook."""

from typing import Any

from flask import current_app
from marshmallow import ValidationError

from flaskapp.api.fields import Config, Text
from flaskapp.errors import NotFetched
from flaskapp.fetch import parse_url


class WebhookURL(Text):
    """An https URL of one of the WEBHOOK_HOSTS."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        hosts = current_app.config["WEBHOOK_HOSTS"]
        if not hosts:
            raise ValidationError("This server sends no webhooks: its setting WEBHOOK_HOSTS is empty.")
        try:
            parse_url(url, hosts)
        except NotFetched as error:
            raise ValidationError(
                "Not an https URL, without a login, of a host that this server sends webhooks to."
            ) from error
        return url

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"pattern": "^https://"} if config["WEBHOOK_HOSTS"] else {"not": {}}  # or nothing is valid
