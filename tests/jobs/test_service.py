"""The removal of old jobs."""

from collections.abc import Callable

import pytest
from flask import Flask

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import BlobStoreUnavailable, UnknownJob
from flaskapp.jobs import Jobs, Limits, NamedFile


def test_a_job_whose_images_cannot_be_removed_does_not_keep_others(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: Jobs = make_app().extensions["jobs"]
    files, limits = [NamedFile("x.png", b"x")], Limits(images=1, bytes=1)
    first, second, third = sorted(jobs.submit(files, limits, GenerationSettings(), "", None).id for _ in range(3))
    remove = jobs.blobs.remove

    def remove_but_one(job_id: str) -> None:
        if job_id == first:
            raise BlobStoreUnavailable("one of its disks is broken")
        remove(job_id)

    monkeypatch.setattr(jobs.blobs, "remove", remove_but_one)
    monkeypatch.setattr(jobs, "_seconds_kept", -1)
    jobs.tidy()
    assert jobs.find(first, "").state == "expired"
    for job_id in (second, third):
        with pytest.raises(UnknownJob):
            jobs.find(job_id, "")
