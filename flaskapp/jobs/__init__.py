"""Caption jobs: many images that are captioned later, by workers that may run elsewhere.

service        takes a job: rows to the database, images to the blob store, their ids through the broker
claims         what a worker is given to do, and what it gives back
ledger         the rows, and which worker has which chunk: the one truth
queries        what the rows say of jobs
status         the status of a job, as JSON too
progress       the changes of a status, as they happen
quotas         how much may wait, of all clients and of one
fairness       whose chunk is next
queue          Celery, and the broker
work           the body of the task
webhooks       the POST of a status when a job has ended
lease_renewer  renews claims, sends lost messages again
embedded       the worker of a server that has no broker
in_process     a worker in a thread, for servers that start no process
celery         what `celery -A flaskapp.jobs worker` runs
"""

from flaskapp.jobs.assembly import assemble
from flaskapp.jobs.bundle import Limits, NamedFile, unpack
from flaskapp.jobs.service import Jobs
from flaskapp.jobs.status import JobStatus

__all__ = ["JobStatus", "Jobs", "Limits", "NamedFile", "assemble", "unpack"]
