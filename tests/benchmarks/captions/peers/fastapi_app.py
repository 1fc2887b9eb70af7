"""The course's script: FastAPI, one image a call, `generate` in the thread pool."""

from fastapi import FastAPI, UploadFile

from tests.benchmarks.captions.peers.model import Model

app = FastAPI()
model = Model()


@app.post("/caption/")
def caption(data: UploadFile) -> dict[str, str]:
    return {"caption": model.caption([data.file.read()])[0]}


@app.get("/")
def root() -> dict[str, str]:
    return {"message": "OK"}
