"""Lab 4: all-reduce between processes, on transports that can be measured and counted.

Read `transport` first: every algorithm is written on it. Its implementations are `in_process`
(threads and a simulated clock, for exploring; `ports` is its model of a link, `simulation` how it
works, `trace` what it tells), `broker_transport` (through a `broker`, a process that passes the
messages on and counts them, for grading; `counting` and `frames` are its inside), `tcp` and
`shared_memory` (between processes), `torch_transport` and `mpi_transport` (over the real systems).
`launcher` starts ranks as processes; `links` makes slow and unequal links between them. `witness`
is the broker beside a check.

Then the algorithms, a module for each idea: `costs` (4.1) with `cost_model` and `rdma_model`;
`trees` (4.2); `ring` (4.3); `doubling` (4.4); `group`, `hierarchy`, `choice` and `rails` (4.5);
`compression`, `three_lc` and `error_feedback` (4.6); `buckets`, `communication_thread` and
`overlap` (4.7); `ddp_hook`, `back_end` and `horovod` (4.8).
"""
