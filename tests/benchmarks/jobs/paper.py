"""An estimate for 100 machines and 10 million images, from costs measured on this machine.

Web servers and clients' status requests are left out, because they scale with replicas. Not measured but assumed: the
network, and that PostgreSQL has cores like these and a fast enough disk.
"""

from datetime import timedelta

from flaskapp.jobs.lease_renewer import RENEWAL_INTERVAL, SWEEP_INTERVAL
from tests.benchmarks.jobs import costs, throughput
from tests.benchmarks.jobs.plan import Fleet, Shared, bottleneck, most_machines, seconds
from tests.benchmarks.table import print_table

IMAGES, MACHINES, WORKERS = 10_000_000, 100, 16  # one worker on each core
CHUNK = 16  # images
DATABASE_CORES = 16
SWEEP_CORES = 1  # at most one: a single worker at a time looks for lost messages
STORE = 1.25e9  # bytes a second, each way: 10 Gbit/s
IMAGE = 200_000  # bytes of a photograph
# Captions a second for each core, by `python -m tests.benchmarks.captions` on two cores of Zen 4.
FULL_SIZE = {"full size, fp32": 2.14 / 2, "full size, int8": 3.76 / 2}

AT_DATABASE = "larger chunks, PgBouncer before it, rows partitioned by job; then a database for each group of jobs"
AT_BROKER = "larger chunks; then a broker for each region"
AT_STORE = "an object store instead of one file server, smaller images"


def shared(measured: costs.Costs) -> list[Shared]:
    of_renewer = measured.of_renewal / RENEWAL_INTERVAL + measured.of_skipped_sweep / SWEEP_INTERVAL
    return [
        Shared("PostgreSQL", DATABASE_CORES - SWEEP_CORES, measured.of_chunk / CHUNK, of_renewer, AT_DATABASE),
        Shared("Redis", 1.0, measured.of_message / CHUNK, 0.0, AT_BROKER),
        Shared("blob store", STORE, IMAGE + measured.overhead, 0.0, AT_STORE),
    ]


def run() -> None:
    measured = costs.measure(CHUNK, IMAGES)
    (alone,) = throughput.measure(1000, [1])
    parts = shared(measured)
    print_table(
        "Measured on this machine",
        ["", ""],
        [
            [f"chunks a second, {costs.CLIENTS} clients and PostgreSQL on the same cores", f"{measured.cycles:.0f}"],
            ["transactions for a chunk", f"{measured.transactions:.1f}"],
            ["core milliseconds of PostgreSQL for a chunk", f"{1000 * measured.of_chunk:.2f}"],
            ["the same, for a renewal of a lease", f"{1000 * measured.of_renewal:.2f}"],
            ["the same, for a skipped sweep", f"{1000 * measured.of_skipped_sweep:.2f}"],
            [f"the same, for a sweep of {IMAGES // CHUNK:,} chunks", f"{1000 * measured.of_sweep:.1f}"],
            ["core microseconds of Redis for a message", f"{1e6 * measured.of_message:.0f}"],
            ["bytes of an image in the blob store beside its own", f"{measured.overhead:.0f}"],
            ["images a second of a worker, embedded model", f"{alone.rate:.0f}"],
        ],
    )
    fleets = {name: Fleet(MACHINES, WORKERS, rate) for name, rate in ({"embedded": alone.rate} | FULL_SIZE).items()}
    print_table(
        f"{IMAGES:,} images on {MACHINES} machines of {WORKERS} workers",
        ["model", "images/s, unsaturated", "time", *(part.name for part in parts), "bottleneck", "at machines"],
        [_row(name, fleet, parts) for name, fleet in fleets.items()],
    )
    for part in parts:
        print(f"\nIf {part.name} is saturated: {part.remedy}.")


def _row(name: str, fleet: Fleet, parts: list[Shared]) -> list[str]:
    loads = [f"{part.load(fleet.images_per_second, fleet.all_workers):.0%}" for part in parts]
    first = bottleneck(fleet, parts)
    time = timedelta(seconds=round(seconds(IMAGES, fleet, parts)))
    most = f"{most_machines(fleet, first):,.0f}"
    return [name, f"{fleet.images_per_second:,.0f}", str(time), *loads, first.name, most]
