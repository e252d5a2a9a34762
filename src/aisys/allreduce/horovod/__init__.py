"""Horovod 0.28.1 under the lab's own use, and one of its all-reduce operations improved.

`gloo_operations.patch` is the improvement: its head says what is slow and what is done about it.
`building` builds Horovod without and with it (`make horovod`), `running` runs a program on
Horovod's ranks, `programs` are those programs, `experiments` what the notebook calls.
"""
