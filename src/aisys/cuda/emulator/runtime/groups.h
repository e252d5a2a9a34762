// Cooperative groups of a block: the block itself and tiles of a warp. See cooperative_groups.h.
#pragma once

namespace cooperative_groups {
class thread_block {
 public:
  void sync(EMULATOR_LINE) const { emu_barrier(0, 0, line); }
  unsigned size() const { return blockDim.x * blockDim.y * blockDim.z; }
  unsigned num_threads() const { return size(); }
  unsigned thread_rank() const {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  }
  dim3 group_index() const { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
  dim3 thread_index() const { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
};
inline thread_block this_thread_block() { return {}; }

template <unsigned Size> class thread_block_tile {
  static_assert(Size <= 32 && (Size & (Size - 1)) == 0, "a tile has 1, 2, 4, 8, 16 or 32 threads");
  unsigned lane() const { return thread_block().thread_rank() % 32; }
  unsigned mask() const { return (Size == 32 ? 0xffffffffu : (1u << Size) - 1) << (lane() / Size * Size); }

 public:
  unsigned size() const { return Size; }
  unsigned num_threads() const { return Size; }
  unsigned thread_rank() const { return lane() % Size; }
  unsigned meta_group_rank() const { return thread_block().thread_rank() / Size; }
  unsigned meta_group_size() const { return (thread_block().size() + Size - 1) / Size; }
  void sync(EMULATOR_LINE) const { emu_warp(0, mask(), 0, 0, 32, line); }
  template <class T> T shfl(T v, int from, EMULATOR_LINE) const { return __shfl_sync(mask(), v, from, Size, line); }
  template <class T> T shfl_up(T v, int by, EMULATOR_LINE) const { return __shfl_up_sync(mask(), v, by, Size, line); }
  template <class T> T shfl_down(T v, int by, EMULATOR_LINE) const { return __shfl_down_sync(mask(), v, by, Size, line); }
  template <class T> T shfl_xor(T v, int by, EMULATOR_LINE) const { return __shfl_xor_sync(mask(), v, by, Size, line); }
  unsigned ballot(int p, EMULATOR_LINE) const { return __ballot_sync(mask(), p, line) >> (lane() / Size * Size); }
  int any(int p, EMULATOR_LINE) const { return __any_sync(mask(), p, line); }
  int all(int p, EMULATOR_LINE) const { return __all_sync(mask(), p, line); }
};
template <unsigned Size> inline thread_block_tile<Size> tiled_partition(const thread_block &) { return {}; }
template <class Group> inline void sync(const Group &group, EMULATOR_LINE) { group.sync(line); }
}  // namespace cooperative_groups
