// Data races: two accesses to one word, at least one a write, that nothing puts in order.
//
// Between threads of a block a barrier orders, between lanes of a warp also what synchronises the warp,
// between blocks a fence before an atomic operation of the one and an atomic operation of the other.
#include "emulator.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace emulator {
namespace {
struct Touch {
  uintptr_t pc = 0;
  uint32_t epoch = 0, warp_epoch = 0, block = 0;
  uint16_t thread = 0;
  uint8_t bytes = 0;  // a bit for each byte of the word
  bool atomic = false;
};
struct Word { Touch writer, reader, other_reader; };

std::unordered_map<uintptr_t, std::vector<Word>> shadows;  // by an array's beginning
std::vector<uint8_t> fenced, has_released, has_acquired;   // by block
uintptr_t last_begin;
std::vector<Word> *last_shadow;

bool ordered(const Touch &before, uint32_t now, uint32_t warp_now, Space space) {
  if (before.block != block() && space == kShared) return true;  // each block has its own
  if (before.block != block())
    return before.block < has_released.size() && has_released[before.block] && block() < has_acquired.size() && has_acquired[block()];
  if (before.epoch != now) return true;
  return before.thread / kWarp == thread() / kWarp && before.warp_epoch != warp_now;
}

void mark(std::vector<uint8_t> &flags) {
  if (flags.size() <= block()) flags.resize(block() + 1, 0);
  flags[block()] = 1;
}

void report(const Touch &before, uintptr_t pc, uintptr_t address, bool was_write, Access access, const Array &array) {
  const char *now = access == kRead ? "reads" : access == kWrite ? "writes" : "changes";
  Report found;
  found.kind = "race";
  found.pc = pc;
  found.other = before.pc;
  found.thread = thread();
  found.block = block();
  found.second = before.thread;
  found.text = name_of(thread(), block()) + " " + now + " " + element(array, address) + ", which " +
               name_of(before.thread, before.block) + (was_write ? " wrote" : " read") + " with no barrier between";
  find_fault(found);
}
}  // namespace

void begin_races() {
  shadows.clear();
  fenced.clear();
  has_released.clear();
  has_acquired.clear();
  last_shadow = nullptr;
  last_begin = 0;
}

void fence() { mark(fenced); }
void acquired() {
  mark(has_acquired);
  if (block() < fenced.size() && fenced[block()]) mark(has_released);
}

void check_race(uintptr_t pc, uintptr_t address, unsigned size, Access access, const Array &array) {
  if (last_shadow == nullptr || last_begin != array.begin) {
    last_begin = array.begin;
    last_shadow = &shadows[array.begin];
    if (last_shadow->empty()) last_shadow->resize((array.end - array.begin + 3) / 4 + 1);
  }
  uint32_t now = block_epoch(), warp_now = warp_epoch(thread());
  for (uintptr_t at = address; at < address + size;) {
    uintptr_t word_begin = at & ~(uintptr_t)3, end = std::min(word_begin + 4, address + size);
    uint8_t bytes = 0;
    for (uintptr_t byte = at; byte < end; byte++) bytes |= 1 << (byte - word_begin);
    Word &word = (*last_shadow)[(word_begin - (array.begin & ~(uintptr_t)3)) / 4];
    Touch touch{pc, now, warp_now, block(), (uint16_t)thread(), bytes, access == kAtomic};
    auto conflicts = [&](const Touch &before) {
      return before.bytes & bytes && !(before.thread == touch.thread && before.block == touch.block) &&
             !(before.atomic && touch.atomic) && !ordered(before, now, warp_now, array.space);
    };
    if (conflicts(word.writer)) report(word.writer, pc, at, true, access, array);
    if (access != kRead) {
      if (conflicts(word.reader)) report(word.reader, pc, at, false, access, array);
      else if (conflicts(word.other_reader)) report(word.other_reader, pc, at, false, access, array);
      word.writer = touch;
    } else if (word.reader.thread != touch.thread || word.reader.block != touch.block) {
      word.other_reader = word.reader;
      word.reader = touch;
    } else {
      word.reader = touch;
    }
    at = end;
  }
}
}  // namespace emulator

extern "C" void emu_fence() {
  if (emulator::counting) emulator::fence();
}
