"""Caption jobs: many images that workers, here or on other machines, caption in the background.

service        submits, finds, cancels and deletes jobs
bundle         unpacks the files or the zip of an upload
tables         the rows of jobs, chunks and images
blobs          stores the images of unfinished chunks
ledger         changes the rows: creates jobs, claims chunks, saves captions
claims         chunks, claims and outcomes
queries        reads the rows
status         the status of a job
progress       the changes of a job's status
quotas         limits on unfinished jobs
fairness       chooses the next chunk, clients in turn
queue          sends messages to workers: Celery and its broker
folder_queue   a broker in a folder
work           the body of the Celery task
webhooks       POST a job's status when it has ended
lease_renewer  renews claims, sends lost messages again
backlog        metrics of unfinished work
assembly       creates all of these from the settings
embedded       the worker process of a server without a broker
in_process     a worker thread, for servers that start no processes
celery         the application of `celery -A flaskapp.jobs worker`
"""

from flaskapp.jobs.assembly import assemble
from flaskapp.jobs.bundle import Limits, NamedFile, unpack
from flaskapp.jobs.service import Jobs
from flaskapp.jobs.status import JobStatus

__all__ = ["JobStatus", "Jobs", "Limits", "NamedFile", "assemble", "unpack"]
