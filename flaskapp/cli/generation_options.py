"""The generation settings of `/caption/` as command-line options, from the same schema."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import marshmallow as ma

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.fields import Flag, Text
from flaskapp.captioner import GenerationSettings

Command = TypeVar("Command", bound=Callable[..., Any])


def generation_options(command: Command) -> Command:
    """Add an option for each setting to a command: `--num-beams` becomes `num_beams`, None if it was not given."""
    for name, field in reversed(CaptionConfig().fields.items()):
        help = field.metadata["description"]
        if isinstance(field, Flag):
            command = click.option(option_name(name), is_flag=True, default=None, help=help)(command)
        else:
            metavar = "NUMBER" if isinstance(field, ma.fields.Number) else "TEXT" if _is_text(name) else "VALUE"
            command = click.option(option_name(name), metavar=metavar, help=help)(command)
    return command


def option_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings in the form of a request's `config`."""
    return {
        name: value if _is_text(name) else _from_json(value) for name, value in options.items() if value is not None
    }


def settings_of(config: Mapping[str, Any]) -> GenerationSettings:
    """Validate the settings. Raises click.UsageError, which names the option."""
    try:
        settings: GenerationSettings = CaptionConfig().load(config)
    except ma.ValidationError as error:
        messages = [f"{option_name(name)}: {' '.join(each)}" for name, each in error.messages_dict.items()]
        raise click.UsageError("; ".join(messages)) from None
    return settings


def _is_text(name: str) -> bool:
    return isinstance(CaptionConfig().fields[name], Text)


def _from_json(value: Any) -> Any:
    """Parse a number, true or false. The schema checks other texts."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
