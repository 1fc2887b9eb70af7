"""A mixed load for Locust: `locust -f tests/benchmarks/locustfile.py --host http://localhost:8000`.

Each sent image is different, so that no cache can answer for the model.
"""

import json
import random
from io import BytesIO
from itertools import count

from locust import HttpUser, between, task
from PIL import Image, ImageDraw

numbers = count(random.randrange(2**60))  # random, so that processes of a distributed run differ


def distinct_image() -> bytes:
    """Return a PNG of 320 x 240 pixels with a disc whose colour and position are unique."""
    draw = random.Random(next(numbers))
    image = Image.new("RGB", (320, 240), (draw.randrange(256), draw.randrange(256), draw.randrange(256)))
    x, y, radius = draw.randrange(60, 260), draw.randrange(60, 180), draw.randrange(20, 60)
    colour = draw.randrange(256), draw.randrange(256), draw.randrange(256)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Visitor(HttpUser):
    """A client that calls light endpoints, resizes often, and sometimes captions."""

    wait_time = between(0.1, 1)  # seconds

    @task(10)
    def light(self) -> None:
        number = random.randrange(100)
        self.client.get("/")
        self.client.get(f"/items/{number}?q=tea", name="/items/[item_id]")
        self.client.get("/restric_items/lenet")
        self.client.get("/query_items", params={"item_id": number}, name="/query_items")

    @task(5)
    def text(self) -> None:
        self.client.get("/text_model/", params={"data": "mlops@gmail.com"}, name="/text_model/")
        self.client.post("/text_model/", json={"email": "mlops@gmail.com", "domain_match": "gmail"})

    @task(5)
    def resize(self) -> None:
        files = {"data": ("image.png", distinct_image())}
        self.client.post("/cv_model/", files=files, params={"h": 28, "w": 40}, name="/cv_model/")

    @task(2)
    def caption(self) -> None:
        self.client.post("/caption/", files={"data": ("image.png", distinct_image())})

    @task(1)
    def caption_several(self) -> None:
        files = [("data", (f"{number}.png", distinct_image())) for number in range(4)]
        self.client.post("/caption/", files=files, data={"config": json.dumps({"num_beams": 4})}, name="/caption/ (4)")

    @task(1)
    def hugging_face(self) -> None:
        self.client.post("/image-to-text", data=distinct_image())

    @task(1)
    def login(self) -> None:
        body = {"username": f"visitor-{random.randrange(50)}", "password": "correct horse"}
        with self.client.post("/login/", json=body, catch_response=True) as answer:
            if answer.status_code == 429:  # the limit works: all visitors have one address
                answer.success()
