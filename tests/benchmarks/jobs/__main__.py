"""Jobs of 2,000 drawn images on Redis and PostgreSQL: `python -m tests.benchmarks.jobs`, as root, in two minutes.

Starts Redis, PostgreSQL (Debian's packages) and 1, 2 and 4 workers on this machine, each worker bound to one core,
times a job with each number of workers, and draws a chart.

--chaos   run a job on several hosts (network namespaces): disconnect a worker and a web server, kill other workers,
          restart Redis and PostgreSQL. Exits with 1 unless each image has exactly one outcome.
--paper   measure the cost of a chunk for PostgreSQL, Redis and the blob store, and estimate large installations
"""

import argparse

from tests.benchmarks.jobs import chaos, paper, throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--chaos", action="store_true")
    kind.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    if options.chaos:
        chaos.run(options.images)
    elif options.paper:
        paper.run()
    else:
        throughput.compare(options.images, options.workers, is_drawn=options.workers == parser.get_default("workers"))


if __name__ == "__main__":
    main()
