"""The generation settings of `/caption/` as options of a command, by the same schema."""

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
    """Give a command an option for each setting: `--num-beams` arrives as `num_beams`, None where it was not given."""
    for name, field in reversed(CaptionConfig().fields.items()):
        help = field.metadata["description"]
        if isinstance(field, Flag):
            command = click.option(option(name), is_flag=True, default=None, help=help)(command)
        else:
            metavar = "NUMBER" if isinstance(field, ma.fields.Number) else "TEXT" if _is_text(name) else "VALUE"
            command = click.option(option(name), metavar=metavar, help=help)(command)
    return command


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, as they would be in a request's `config`."""
    return {
        name: value if _is_text(name) else _from_json(value) for name, value in options.items() if value is not None
    }


def settings_of(config: Mapping[str, Any]) -> GenerationSettings:
    """Raises click.UsageError, which names the option."""
    try:
        settings: GenerationSettings = CaptionConfig().load(config)
    except ma.ValidationError as error:
        complaints = [f"{option(name)}: {' '.join(messages)}" for name, messages in error.messages_dict.items()]
        raise click.UsageError("; ".join(complaints)) from None
    return settings


def _is_text(name: str) -> bool:
    return isinstance(CaptionConfig().fields[name], Text)


def _from_json(value: Any) -> Any:
    """A number or true and false as such; other texts are left to the schema."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
