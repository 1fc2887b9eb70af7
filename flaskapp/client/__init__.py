"""A client of a flaskapp server. Imports neither torch nor the application."""

from flaskapp.client.answers import (
    Captions,
    EmailCheck,
    ImageCaptions,
    ImageError,
    Item,
    Job,
    JobResult,
    Model,
    PartialCaptions,
    ResizedImage,
    Score,
    Status,
)
from flaskapp.client.client import Client
from flaskapp.client.errors import (
    ClientError,
    LoginRefused,
    RequestRefused,
    ServerUnreachable,
    TimedOut,
    TooBusy,
    UnexpectedAnswer,
)
from flaskapp.client.generation import Generation
from flaskapp.client.multipart import ImageSource

__all__ = [
    "Captions",
    "Client",
    "ClientError",
    "EmailCheck",
    "Generation",
    "ImageCaptions",
    "ImageError",
    "ImageSource",
    "Item",
    "Job",
    "JobResult",
    "LoginRefused",
    "Model",
    "PartialCaptions",
    "RequestRefused",
    "ResizedImage",
    "Score",
    "ServerUnreachable",
    "Status",
    "TimedOut",
    "TooBusy",
    "UnexpectedAnswer",
]
