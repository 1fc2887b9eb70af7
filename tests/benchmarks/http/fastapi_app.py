"""The same endpoints in FastAPI, as the course writes them."""

import os
from enum import StrEnum
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated

import cv2
from fastapi import FastAPI, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from flaskapp import emails

app = FastAPI()
FOLDER = Path(gettempdir())


class Provider(StrEnum):
    gmail = "gmail"
    hotmail = "hotmail"


class Email(BaseModel):
    email: str = Field(max_length=4096)
    domain_match: Provider


@app.get("/items/{item_id}")
def read_item(item_id: int, q: str | None = None) -> dict[str, int | str]:
    return {"item_id": item_id} if q is None else {"item_id": item_id, "q": q}


@app.get("/query_items")
def read_query(item_id: int) -> dict[str, int]:
    return {"item_id": item_id}


@app.get("/text_model/")
def check_text(data: Annotated[str, Query(max_length=4096)]) -> dict[str, object]:
    return {"input": data, "message": "OK", "status-code": 200, "is_email": emails.is_email(data)}


@app.post("/text_model/")
def check_email(body: Email) -> dict[str, object]:
    return {
        "input": body, "message": "OK", "status-code": 200, "is_email": emails.is_email(body.email),
        "is_domain_match": emails.is_at(body.email, body.domain_match),
    }  # fmt: skip


@app.post("/cv_model/")
async def resize(data: UploadFile, h: int = 28, w: int = 28) -> FileResponse:
    """Resize with files on disk and the course's order of width and height. Each worker has its own files."""
    source, target = (FOLDER / f"benchmark_{os.getpid()}_{name}.jpg" for name in ("image", "image_resize"))
    source.write_bytes(await data.read())
    cv2.imwrite(str(target), cv2.resize(cv2.imread(str(source)), (h, w)))
    return FileResponse(target)
