// CUDA C++ as C++ on the CPU: included before a kernel's source. See the CUDA C++ Programming Guide,
// appendix "C++ language extensions", for what each name means on a GPU.
#pragma once
#include <cassert>
#include <cstddef>
#ifdef _GLIBCXX_USE_STD_SPEC_FUNCS
#undef _GLIBCXX_USE_STD_SPEC_FUNCS  // Bessel functions and the like take half of a kernel's build
#endif
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define __CUDA_EMULATOR__ 1
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __constant__ static __attribute__((section("cuda_constant"), used))
#define __align__(n) alignas(n)

#define EMULATOR_VECTOR2(T, S, A) \
  struct alignas(A) T##2 { S x, y; }; \
  inline T##2 make_##T##2(S x, S y) { return {x, y}; }
#define EMULATOR_VECTOR3(T, S) \
  struct T##3 { S x, y, z; }; \
  inline T##3 make_##T##3(S x, S y, S z) { return {x, y, z}; }
#define EMULATOR_VECTOR4(T, S, A) \
  struct alignas(A) T##4 { S x, y, z, w; }; \
  inline T##4 make_##T##4(S x, S y, S z, S w) { return {x, y, z, w}; }
EMULATOR_VECTOR2(float, float, 8) EMULATOR_VECTOR3(float, float) EMULATOR_VECTOR4(float, float, 16)
EMULATOR_VECTOR2(int, int, 8) EMULATOR_VECTOR3(int, int) EMULATOR_VECTOR4(int, int, 16)
EMULATOR_VECTOR2(uint, unsigned, 8) EMULATOR_VECTOR3(uint, unsigned) EMULATOR_VECTOR4(uint, unsigned, 16)
EMULATOR_VECTOR2(double, double, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// What the runtime does. Numbers for kinds and types are in emulator.h, too.
extern "C" {
__attribute__((const)) uint3 emu_thread_index();
__attribute__((const)) uint3 emu_block_index();
__attribute__((const)) uint3 emu_block_size();
__attribute__((const)) uint3 emu_grid_size();
void *emu_shared(const char *owner, int number, size_t bytes, size_t align, const char *name, unsigned item);
void *emu_dynamic_shared();
int emu_barrier(int kind, int value, int line);
uint64_t emu_warp(int kind, unsigned mask, uint64_t value, int argument, int width, int line);
unsigned emu_active_mask();
uint64_t emu_atomic(int kind, int type, void *address, uint64_t value, uint64_t compare);
void emu_fence();
int emu_printf(const char *format, ...);
[[noreturn]] void emu_assert(const char *text, int line);
}

#define threadIdx (emu_thread_index())
#define blockIdx (emu_block_index())
#define blockDim (emu_block_size())
#define gridDim (emu_grid_size())
#define warpSize 32
#define printf emu_printf
#undef assert
#define assert(condition) ((condition) ? (void)0 : emu_assert(#condition, __LINE__))

namespace emulator {
template <class T> inline uint64_t bits(T value) {
  static_assert(sizeof(T) <= 8, "at most eight bytes travel between threads");
  uint64_t result = 0;
  std::memcpy(&result, &value, sizeof(T));
  return result;
}
template <class T> inline T value(uint64_t bits) {
  T result;
  std::memcpy(&result, &bits, sizeof(T));
  return result;
}
template <class T> struct TypeOf;
template <> struct TypeOf<int> { static constexpr int number = 0; };
template <> struct TypeOf<unsigned> { static constexpr int number = 1; };
template <> struct TypeOf<float> { static constexpr int number = 2; };
template <> struct TypeOf<double> { static constexpr int number = 3; };
template <> struct TypeOf<unsigned long long> { static constexpr int number = 4; };
template <class T> inline T atomic(int kind, T *address, T operand, T compare = T{}) {
  return value<T>(emu_atomic(kind, TypeOf<T>::number, address, bits(operand), bits(compare)));
}
}  // namespace emulator

#define EMULATOR_LINE int line = __builtin_LINE()
inline void __syncthreads(EMULATOR_LINE) { emu_barrier(0, 0, line); }
inline int __syncthreads_count(int predicate, EMULATOR_LINE) { return emu_barrier(1, predicate != 0, line); }
inline int __syncthreads_and(int predicate, EMULATOR_LINE) { return emu_barrier(2, predicate != 0, line); }
inline int __syncthreads_or(int predicate, EMULATOR_LINE) { return emu_barrier(3, predicate != 0, line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_LINE) { emu_warp(0, mask, 0, 0, 32, line); }
inline void __threadfence() { emu_fence(); }
inline void __threadfence_block() {}
inline unsigned __activemask() { return emu_active_mask(); }

#define EMULATOR_SHUFFLE(name, kind) \
  template <class T> inline T name(unsigned mask, T var, int argument, int width = 32, EMULATOR_LINE) { \
    return emulator::value<T>(emu_warp(kind, mask, emulator::bits(var), argument, width, line)); \
  }
EMULATOR_SHUFFLE(__shfl_sync, 1)
EMULATOR_SHUFFLE(__shfl_up_sync, 2)
EMULATOR_SHUFFLE(__shfl_down_sync, 3)
EMULATOR_SHUFFLE(__shfl_xor_sync, 4)
inline unsigned __ballot_sync(unsigned mask, int p, EMULATOR_LINE) { return emu_warp(5, mask, p != 0, 0, 32, line); }
inline int __any_sync(unsigned mask, int p, EMULATOR_LINE) { return emu_warp(5, mask, p != 0, 0, 32, line) != 0; }
inline int __all_sync(unsigned mask, int p, EMULATOR_LINE) { return emu_warp(6, mask, p != 0, 0, 32, line); }

#define EMULATOR_ATOMIC(name, kind) \
  template <class T> inline T name(T *address, T operand) { return emulator::atomic(kind, address, operand); } \
  inline float name(float *address, double operand) { return emulator::atomic(kind, address, (float)operand); } \
  inline unsigned name(unsigned *address, int operand) { return emulator::atomic(kind, address, (unsigned)operand); }
EMULATOR_ATOMIC(atomicAdd, 0)
EMULATOR_ATOMIC(atomicSub, 1)
EMULATOR_ATOMIC(atomicMax, 2)
EMULATOR_ATOMIC(atomicMin, 3)
EMULATOR_ATOMIC(atomicExch, 4)
EMULATOR_ATOMIC(atomicAnd, 6)
EMULATOR_ATOMIC(atomicOr, 7)
EMULATOR_ATOMIC(atomicXor, 8)
template <class T> inline T atomicCAS(T *address, T compare, T operand) {
  return emulator::atomic(5, address, operand, compare);
}
inline unsigned atomicInc(unsigned *address, unsigned limit) { return emulator::atomic(9, address, limit); }

// Mathematics: the fast intrinsics have the full precision here.
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __saturatef(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __int_as_float(int x) { return emulator::value<float>(emulator::bits(x)); }
inline int __float_as_int(float x) { return emulator::value<int>(emulator::bits(x)); }
inline unsigned __float_as_uint(float x) { return emulator::value<unsigned>(emulator::bits(x)); }
inline float __uint_as_float(unsigned x) { return emulator::value<float>(emulator::bits(x)); }
template <class T> inline T __ldg(const T *address) { return *address; }

#include "half.h"
#include "groups.h"
#include "entry.h"
