"""A client for a running flaskapp: `from flaskapp.client import Client` imports neither torch nor the application."""

from flaskapp.client.answers import (
    Captions,
    EmailCheck,
    ImageCaptions,
    Item,
    Job,
    JobResult,
    Model,
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
    "ImageSource",
    "Item",
    "Job",
    "JobResult",
    "LoginRefused",
    "Model",
    "RequestRefused",
    "ResizedImage",
    "Score",
    "ServerUnreachable",
    "Status",
    "TimedOut",
    "TooBusy",
    "UnexpectedAnswer",
]
