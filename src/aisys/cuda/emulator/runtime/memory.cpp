// What a kernel may touch: its arguments, its constants, shared memory. Everything else is refused before
// it happens.
#include "emulator.h"

#include <algorithm>
#include <cstring>

namespace emulator {
std::vector<Array> arrays;
std::vector<Report> findings;
Report fault;

namespace {
struct Allocation { const char *owner; int number; size_t begin, bytes; const char *name; unsigned item; };
alignas(256) char shared[kMostShared];
bool initialised[kMostShared];
std::vector<Allocation> allocations;
size_t dynamic_bytes, used;
size_t last_found;

const char *const kVerbs[] = {"reads", "writes", "changes"};
}  // namespace

void begin_memory(unsigned dynamic, bool) {
  allocations.clear();
  dynamic_bytes = used = dynamic;
  last_found = 0;
}

void begin_block() {
  // Shared memory holds no number that anybody would take for a result.
  for (size_t i = 0; i + 4 <= (used + 3) / 4 * 4 && i + 4 <= kMostShared; i += 4) memcpy(shared + i, "\xef\xbe\xad\x7f", 4);
  memset(initialised, 0, used);
}

unsigned static_shared_bytes() { return (unsigned)(used - dynamic_bytes); }

const Array *find(uintptr_t address, unsigned size) {
  static const Array shared_memory{(uintptr_t)shared, (uintptr_t)shared + kMostShared, "shared memory", 4, true, kShared};
  uintptr_t offset = address - (uintptr_t)shared;
  if (offset < kMostShared) return offset + size <= used ? &shared_memory : nullptr;
  if (last_found < arrays.size() && address >= arrays[last_found].begin && address + size <= arrays[last_found].end)
    return &arrays[last_found];
  for (size_t i = 0; i < arrays.size(); i++)
    if (address >= arrays[i].begin && address + size <= arrays[i].end) return &arrays[last_found = i];
  return nullptr;
}

bool shared_initialised(uintptr_t address, unsigned size, bool write) {
  bool *flags = initialised + (address - (uintptr_t)shared);
  bool all = true;
  for (unsigned i = 0; i < size; i++) {
    all &= flags[i];
    if (write) flags[i] = true;
  }
  return all;
}

std::string shared_name(uintptr_t address) {
  size_t offset = address - (uintptr_t)shared;
  for (const Allocation &known : allocations)
    if (offset >= known.begin && offset < known.begin + known.bytes) return known.name;
  return "shared";
}

std::string element(const Array &array, uintptr_t address) {
  if (array.space == kShared) {
    size_t offset = address - array.begin;
    for (const Allocation &known : allocations)
      if (offset >= known.begin && offset < known.begin + known.bytes)
        return std::string(known.name) + "[" + std::to_string((offset - known.begin) / known.item) + "] of shared memory";
    return "byte " + std::to_string(offset) + " of shared memory";
  }
  long index = ((long)address - (long)array.begin) / (long)array.item;
  if (address < array.begin) index = -(((long)array.begin - (long)address + array.item - 1) / (long)array.item);
  return array.name + "[" + std::to_string(index) + "]";
}

void refuse(uintptr_t pc, uintptr_t address, unsigned size, Access access) {
  std::string text = name_of(thread(), block()) + " " + kVerbs[access] + " ";
  uintptr_t offset = address - (uintptr_t)shared;
  if (offset < kMostShared) {
    text += "byte " + std::to_string(offset) + " of shared memory, of which there are " + std::to_string(used);
    fail("bounds", text, pc);
  }
  const Array *nearest = nullptr;
  uintptr_t best = 1 << 20;
  for (const Array &array : arrays) {
    uintptr_t away = address < array.begin ? array.begin - address : address - array.end;
    if (away < best) best = away, nearest = &array;
    if (address >= array.begin && address < array.end) nearest = &array, best = 0;
  }
  if (address < 4096) fail("bounds", text + "through a null pointer", pc);
  if (!nearest) fail("bounds", text + std::to_string(size) + " bytes that belong to no array", pc);
  size_t items = (nearest->end - nearest->begin) / nearest->item;
  fail("bounds", text + element(*nearest, address) + ", and the array has " + std::to_string(items) + " elements", pc);
}

void find_fault(const Report &report) {
  for (const Report &known : findings)
    if (known.kind == report.kind && known.pc == report.pc && known.other == report.other) return;
  if (findings.size() < 20) findings.push_back(report);
}
}  // namespace emulator

using namespace emulator;
extern "C" {
void *emu_shared(const char *owner, int number, size_t bytes, size_t align, const char *name, unsigned item) {
  for (const Allocation &known : allocations)
    if (known.owner == owner && known.number == number) return shared + known.begin;
  size_t begin = (used + std::max<size_t>(align, 16) - 1) / std::max<size_t>(align, 16) * std::max<size_t>(align, 16);
  if (begin + bytes > kMostShared)
    fail("shared", "the block asks for more than " + std::to_string(kMostShared) + " bytes of shared memory",
         (uintptr_t)__builtin_return_address(0));
  allocations.push_back({owner, number, begin, bytes, name, item});
  for (size_t i = begin; i + 4 <= begin + bytes; i += 4) memcpy(shared + i, "\xef\xbe\xad\x7f", 4);
  memset(initialised + begin, 0, bytes);
  used = begin + bytes;
  return shared + begin;
}
void *emu_dynamic_shared() {
  if (dynamic_bytes == 0) fail("shared", "the kernel uses dynamic shared memory; launch it with shared_bytes=", (uintptr_t)__builtin_return_address(0));
  return shared;
}
}
