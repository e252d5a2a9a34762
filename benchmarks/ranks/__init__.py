"""The ranks of the all-reduce benchmark: `processes` under our launcher, `mpi` under `mpirun`."""
