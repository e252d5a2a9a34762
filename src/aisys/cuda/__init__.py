"""Lab 3: CUDA kernels, on a GPU where there is one and on an emulator everywhere.

Read `emulator` first: what it counts is what the lab is judged by. `devices` launches a kernel on
the emulator or on a GPU, compiled by `gpu` with NVRTC or by `extension` with nvcc; `nvidia` finds
NVIDIA's compiler and asks it. Then a module a stage: `threads` (3.1); `array_module` (3.2) with
`counted`, whose every operator is a launch; `transpose` (3.3); `reduction` (3.4); `matmul` (3.5)
with `roofline`; `operator` (3.6), the operator of Lab 2; `debugging` (3.7); `tuning` (3.8) with
`gpus`, GPUs by their figures. `gpu_check` runs every kernel on a GPU and compares with PyTorch.
"""
