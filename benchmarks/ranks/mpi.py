"""MPI's own all-reduce, under `mpirun`: prints the seconds of every repeat of each size as JSON.

python mpi.py SIZES REPEATS
"""

import json
import sys
import time

import numpy as np
from mpi4py import MPI


def main() -> None:
    """Be a rank; the first one prints what the slowest took."""
    sizes, repeats = json.loads(sys.argv[1]), int(sys.argv[2])
    ranks = MPI.COMM_WORLD
    seconds = []
    for nbytes in sizes:
        data = np.ones(nbytes // 4, np.float32)
        total, times = np.zeros_like(data), []
        for _ in range(1 + repeats):
            ranks.Barrier()
            begin = time.perf_counter()
            ranks.Allreduce(data, total)
            times.append(time.perf_counter() - begin)
        assert (total == ranks.size).all()
        seconds.append(times[1:])
    slowest = np.max(ranks.allgather(seconds), axis=0).tolist()
    if ranks.rank == 0:
        print(json.dumps(slowest))


if __name__ == "__main__":
    main()
