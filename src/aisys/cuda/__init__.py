"""Lab 3: CUDA kernels, on a GPU where there is one and on an emulator everywhere.

Read `emulator` first: what it counts is what the lab is judged by.
Then a module a stage: `threads` (3.1); `array_module` with `counted`, an array module whose every
operator is a launch (3.2).
`matmul` and `roofline` (3.5); `gpus`, GPUs by their figures, and `tuning` (3.8).
"""
