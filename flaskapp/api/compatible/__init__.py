"""The APIs of other servers, for the clients that people have: each module is one API, on this server's captioner.

References are named in each module. What an API has beyond captions of images is not here.
"""

from flaskapp.api.compatible import ollama, open_inference, openai, photoprism
from flaskapp.api.compatible.open_inference import ModelName as ModelName

RESOURCES = (openai, ollama, open_inference, photoprism)
