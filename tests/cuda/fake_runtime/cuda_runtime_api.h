// Of the CUDA runtime what an extension's host part calls, for a machine without one: a "kernel" is
// a function that gets the launch and its arguments, and runs on the CPU.
#pragma once
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

#include <cstddef>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned a, unsigned b, unsigned c) : x(a), y(b), z(c) {}
};
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct FakeLaunch {
  dim3 grid, block;
  size_t shared_bytes, most_shared_bytes;
  void* stream;
};
using FakeKernel = void (*)(const FakeLaunch&, void**);

inline size_t fake_most_shared_bytes = 0;
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  fake_most_shared_bytes = bytes;
  return cudaSuccess;
}
inline cudaError_t cudaLaunchKernel(
    const void* kernel, dim3 grid, dim3 block, void** arguments, size_t bytes, cudaStream_t stream) {
  if (block.x * block.y * block.z > 1024) return cudaErrorInvalidConfiguration;
  reinterpret_cast<FakeKernel>(const_cast<void*>(kernel))(
      {grid, block, bytes, fake_most_shared_bytes, stream}, arguments);
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "invalid configuration argument"; }

namespace torch::stable::accelerator {
struct FakeGuard {
  explicit FakeGuard(int32_t) {}
};
}  // namespace torch::stable::accelerator
// Tensors on the CPU play those on a GPU.
#define is_cuda is_cpu
#define DeviceGuard FakeGuard
