"""Lab 3: CUDA kernels, on a GPU where there is one and on an emulator everywhere.

Read `emulator` first: what it counts is what the lab is judged by.
"""
