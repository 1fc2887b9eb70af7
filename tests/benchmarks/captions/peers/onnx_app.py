"""FastAPI with ONNX Runtime: requests that wait are captioned in batches of up to 8."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import onnxruntime
from fastapi import FastAPI, UploadFile
from optimum.onnxruntime import ORTModelForVision2Seq

from tests.benchmarks.captions.peers.model import Model

MAX_BATCH = 8

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))  # the default counts physical cores only
model = Model(kind=ORTModelForVision2Seq, session_options=options)
waiting: asyncio.Queue[tuple[bytes, asyncio.Future[str]]] = asyncio.Queue()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(caption_batches())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/caption/")
async def caption(data: UploadFile) -> dict[str, str]:
    answer = asyncio.get_running_loop().create_future()
    waiting.put_nowait((await data.read(), answer))
    return {"caption": await answer}


async def caption_batches() -> None:
    while True:
        batch = [await waiting.get()]
        while len(batch) < MAX_BATCH and not waiting.empty():
            batch.append(waiting.get_nowait())
        files, answers = zip(*batch, strict=True)
        try:
            captions = await asyncio.to_thread(model.caption, files)
        except Exception as error:
            for answer in answers:
                answer.set_exception(error)
        else:
            for answer, text in zip(answers, captions, strict=True):
                answer.set_result(text)
