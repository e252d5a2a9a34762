// What the compiler and the kernel's atomics tell of every access to memory.
//
// A kernel is compiled with -fsanitize=thread, and these are the functions that it then calls before it
// touches memory. They come before the access, so one that is not allowed never happens.
#include "emulator.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace emulator {
std::string printed;
int checks = 0;
bool counting = false;
uintptr_t last_pc = 0;

namespace {
void touch(uintptr_t pc, uintptr_t address, unsigned size, Access access) {
  last_pc = pc;
  if (!counting || on_own_stack(address, size)) return;
  const Array *array = find(address, size);
  if (array == nullptr || (access != kRead && !array->writable)) refuse(pc, address, size, access);
  if (address % size != 0)
    fail("alignment", name_of(thread(), block()) + " touches " + std::to_string(size) + " bytes at " +
         element(*array, address) + ", whose address is no multiple of " + std::to_string(size), pc);
  if (array->space == kConstant) return;
  count(pc, address, size, access, array->space);
  if (!(checks & kRaces)) return;
  if (array->space == kShared && !shared_initialised(address, size, access == kWrite) && access != kWrite)
    find_fault({"uninitialised", name_of(thread(), block()) + " reads " + element(*array, address) +
                " before anything was written there", pc, 0, 0, thread(), block(), 0});
  check_race(pc, address, size, access, *array);
}

template <class T> T number(uint64_t bits) { T x; memcpy(&x, &bits, sizeof x); return x; }
template <class T> uint64_t bits(T x) { uint64_t b = 0; memcpy(&b, &x, sizeof x); return b; }

template <class T> T changed(int kind, T old, T operand) {
  switch (kind) {
    case 0: return old + operand;
    case 1: return old - operand;
    case 2: return std::max(old, operand);
    case 3: return std::min(old, operand);
  }
  return operand;
}
template <class T> T whole_changed(int kind, T old, T operand) {
  switch (kind) {
    case 6: return old & operand;
    case 7: return old | operand;
    case 8: return old ^ operand;
    case 9: return old >= operand ? 0 : old + 1;
  }
  return changed(kind, old, operand);
}
template <class T, bool whole> uint64_t exchange(int kind, void *address, uint64_t value, uint64_t compare) {
  T old, operand = number<T>(value);
  memcpy(&old, address, sizeof old);
  T result = operand;
  if (kind == 5) result = bits(old) == compare ? operand : old;
  else if constexpr (whole) result = whole_changed<T>(kind, old, operand);
  else result = changed<T>(kind, old, operand);
  memcpy(address, &result, sizeof result);
  return bits(old);
}
}  // namespace
}  // namespace emulator

using namespace emulator;
extern "C" {
uint64_t emu_atomic(int kind, int type, void *address, uint64_t value, uint64_t compare) {
  unsigned size = type >= 3 ? 8 : 4;
  if (counting) {
    touch((uintptr_t)__builtin_return_address(0), (uintptr_t)address, size, kAtomic);
    acquired();
  }
  switch (type) {
    case 0: return exchange<int32_t, true>(kind, address, value, compare);
    case 1: return exchange<uint32_t, true>(kind, address, value, compare);
    case 2: return exchange<float, false>(kind, address, value, compare);
    case 3: return exchange<double, false>(kind, address, value, compare);
  }
  return exchange<uint64_t, true>(kind, address, value, compare);
}

int emu_printf(const char *format, ...) {
  for (const char *at = format; (at = strchr(at, '%')) != nullptr;) {
    at++;
    if (*at == '%') { at++; continue; }
    at += strspn(at, "0123456789+-# .lhzjt*");
    if (*at == 'n' || *at == 's') fail("printf", "printf of the emulator knows neither %n nor %s");
  }
  char line[1024];
  va_list values;
  va_start(values, format);
  int length = vsnprintf(line, sizeof line, format, values);
  va_end(values);
  if (printed.size() < kMostPrinted) printed += line;
  return length;
}

void emu_assert(const char *text, int line) {
  fail("assert", name_of(thread(), block()) + ": the assertion " + text + " does not hold", 0, line);
}

// The kernel's compiler may copy whole structures so.
void *emu_memcpy(void *to, const void *from, size_t size) {
  if (counting && size > 0) {
    uintptr_t pc = (uintptr_t)__builtin_return_address(0);
    const Array *source = find((uintptr_t)from, size), *target = find((uintptr_t)to, size);
    if (!source && !on_own_stack((uintptr_t)from, size)) refuse(pc, (uintptr_t)from, size, kRead);
    if (!(target && target->writable) && !on_own_stack((uintptr_t)to, size)) refuse(pc, (uintptr_t)to, size, kWrite);
  }
  return memmove(to, from, size);
}
void *emu_memmove(void *to, const void *from, size_t size) { return emu_memcpy(to, from, size); }
void *emu_memset(void *to, int value, size_t size) {
  if (counting && size > 0) {
    const Array *target = find((uintptr_t)to, size);
    if (!(target && target->writable) && !on_own_stack((uintptr_t)to, size))
      refuse((uintptr_t)__builtin_return_address(0), (uintptr_t)to, size, kWrite);
  }
  return memset(to, value, size);
}

#define EMULATOR_TSAN(bytes) \
  void __tsan_read##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kRead); } \
  void __tsan_write##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kWrite); } \
  void __tsan_unaligned_read##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kRead); } \
  void __tsan_unaligned_write##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kWrite); } \
  void __tsan_volatile_read##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kRead); } \
  void __tsan_volatile_write##bytes(void *at) { touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at, bytes, kWrite); }
EMULATOR_TSAN(1) EMULATOR_TSAN(2) EMULATOR_TSAN(4) EMULATOR_TSAN(8) EMULATOR_TSAN(16)
void __tsan_read_range(void *at, size_t size) {
  for (size_t i = 0; i < size; i += 4) touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at + i, 4, kRead);
}
void __tsan_write_range(void *at, size_t size) {
  for (size_t i = 0; i < size; i += 4) touch((uintptr_t)__builtin_return_address(0), (uintptr_t)at + i, 4, kWrite);
}
void __tsan_init() {}
}
