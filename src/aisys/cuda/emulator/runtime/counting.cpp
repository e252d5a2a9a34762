// What each instruction of a warp costs: the accesses of its lanes at one place, put side by side.
//
// The nth access of a lane at a place of the program belongs to the nth accesses of the other lanes there.
// From their addresses follow the 32-byte sectors of a global request and the wavefronts of a shared one
// (NVIDIA, CUDA C++ Best Practices Guide, "Coalesced access" and "Shared memory and memory banks").
#include "emulator.h"

#include <algorithm>
#include <cstring>

namespace emulator {
namespace {
constexpr size_t kTable = 1 << 14, kMostSteps = 1 << 22;

struct Step { uint32_t mask; uintptr_t address[kWarp]; };

struct Site {
  uintptr_t pc = 0;
  Access access = kRead;
  Space space = kGlobal;
  unsigned size = 0;
  bool branch = false;
  std::vector<Step> steps;
  std::vector<uint32_t> masks;  // of a block of instructions: which lanes ran it
  uint32_t used = 0, next[kWarp] = {};
  Step sample{};  // the first step, for a picture
  uint64_t requests = 0, lanes = 0, sectors = 0, wavefronts = 0, ideal = 0, contention = 0;
};

std::vector<Site> sites;
uint32_t table[kTable];
std::vector<uint32_t> touched;
size_t steps_now;

Site &site_of(uintptr_t pc) {
  size_t slot = (pc ^ pc >> 13) % kTable;
  for (;; slot = (slot + 1) % kTable) {
    if (table[slot] == 0) {
      if (sites.size() + 1 >= kTable / 2) fail("size", "the kernel has too many places that touch memory", pc);
      sites.emplace_back();
      sites.back().pc = pc;
      table[slot] = (uint32_t)sites.size();
    }
    Site &site = sites[table[slot] - 1];
    if (site.pc == pc) return site;
  }
}

void count_global(Site &site, const Step &step) {
  uintptr_t found[2 * kWarp];
  unsigned count = 0;
  for (unsigned lane = 0; lane < kWarp; lane++) {
    if (!(step.mask >> lane & 1)) continue;
    for (uintptr_t s = step.address[lane] >> 5; s <= (step.address[lane] + site.size - 1) >> 5; s++)
      if (count == 0 || found[count - 1] != s) found[count++] = s;
  }
  if (count > 1) {
    std::sort(found, found + count);
    count = (unsigned)(std::unique(found, found + count) - found);
  }
  site.sectors += count;
}

// Lanes that touch different words of one bank wait for each other; wide accesses go in parts.
void count_shared(Site &site, const Step &step) {
  unsigned part = site.size > 4 ? kWarp * 4 / site.size : kWarp;
  for (unsigned begin = 0; begin < kWarp; begin += part) {
    uintptr_t words[kWarp][kWarp];
    unsigned counts[kWarp] = {}, worst = 0;
    for (unsigned lane = begin; lane < begin + part; lane++) {
      if (!(step.mask >> lane & 1)) continue;
      for (uintptr_t w = step.address[lane] >> 2; w <= (step.address[lane] + site.size - 1) >> 2; w++) {
        unsigned bank = w % 32, n = counts[bank];
        if (std::find(words[bank], words[bank] + n, w) != words[bank] + n) continue;
        words[bank][n] = w;
        worst = std::max(worst, ++counts[bank]);
      }
    }
    site.wavefronts += worst;
    site.ideal += worst > 0;
  }
}

void count_contention(Site &site, const Step &step) {
  unsigned worst = 0;
  for (unsigned lane = 0; lane < kWarp; lane++) {
    if (!(step.mask >> lane & 1)) continue;
    unsigned same = 0;
    for (unsigned other = 0; other < kWarp; other++)
      same += (step.mask >> other & 1) && step.address[other] == step.address[lane];
    worst = std::max(worst, same);
  }
  site.contention += worst;
}
}  // namespace

void begin_counts() {
  sites.clear();
  touched.clear();
  steps_now = 0;
  memset(table, 0, sizeof table);
}

void count(uintptr_t pc, uintptr_t address, unsigned size, Access access, Space space) {
  Site &site = site_of(pc);
  unsigned lane = thread() % kWarp;
  uint32_t number = site.next[lane]++;
  if (number == site.used) {
    if (number == 0) {
      site.access = access;
      site.space = space;
      site.size = size;
      touched.push_back((uint32_t)(&site - sites.data()));
    }
    if (++steps_now > kMostSteps) fail("size", "a warp makes too many accesses between two barriers for this emulator; does every loop end?", pc);
    if (site.steps.size() == site.used) site.steps.emplace_back();
    site.steps[site.used++].mask = 0;
  }
  Step &step = site.steps[number];
  step.mask |= 1u << lane;
  step.address[lane] = address;
}

unsigned settle() {
  unsigned steps = 0;
  for (uint32_t index : touched) {
    Site &site = sites[index];
    for (uint32_t i = 0; i < site.used; i++) {
      if (site.branch) {
        steps++;
        site.requests++;
        site.lanes += __builtin_popcount(site.masks[i]);
        continue;
      }
      const Step &step = site.steps[i];
      site.requests++;
      site.lanes += __builtin_popcount(step.mask);
      if (site.requests == 1) site.sample = step;
      if (site.space == kShared) count_shared(site, step);
      else count_global(site, step);
      if (site.access == kAtomic) count_contention(site, step);
    }
    site.used = 0;
    memset(site.next, 0, sizeof site.next);
  }
  touched.clear();
  steps_now = 0;
  return steps;
}

namespace {
// Which array the first step touched, and how many bytes from its beginning each lane did; -1 for none.
std::string sample_json(const Site &site) {
  std::string offsets, name;
  for (unsigned lane = 0; lane < kWarp; lane++) {
    long offset = -1;
    if (site.sample.mask >> lane & 1) {
      const Array *array = find(site.sample.address[lane], site.size);
      if (array && name.empty()) name = array->space == kShared ? shared_name(site.sample.address[lane]) : array->name;
      if (array) offset = (long)(site.sample.address[lane] - array->begin);
    }
    offsets += (lane ? "," : "") + std::to_string(offset);
  }
  return ",\"array\":\"" + name + "\",\"sample\":[" + offsets + "]";
}
}  // namespace

std::string counts_json() {
  std::string text = "[";
  const char *spaces[] = {"global", "shared", "constant"}, *accesses[] = {"read", "write", "atomic"};
  for (const Site &site : sites) {
    if (site.requests == 0) continue;
    if (text.size() > 1) text += ",";
    auto add = [&](const char *name, uint64_t number) { text += std::string(",\"") + name + "\":" + std::to_string(number); };
    text += "{\"pc\":" + std::to_string(site.pc) + ",\"space\":\"" + (site.branch ? "code" : spaces[site.space]) +
            "\",\"access\":\"" + accesses[site.access] + "\"";
    add("size", site.size);
    add("requests", site.requests);
    add("lanes", site.lanes);
    add("sectors", site.sectors);
    add("wavefronts", site.wavefronts);
    add("ideal", site.ideal);
    add("contention", site.contention);
    if (!site.branch) text += sample_json(site);
    text += "}";
  }
  return text + "]";
}
}  // namespace emulator

// The compiler calls this at the beginning of every block of instructions that run together.
extern "C" void __sanitizer_cov_trace_pc() {
  using namespace emulator;
  if (!counting) return;
  Site &site = site_of(last_pc = (uintptr_t)__builtin_return_address(0));
  unsigned lane = thread() % kWarp;
  uint32_t number = site.next[lane]++;
  if (number == site.used) {
    if (number == 0) {
      site.branch = true;
      touched.push_back((uint32_t)(&site - sites.data()));
    }
    if (++steps_now > kMostSteps) fail("size", "a warp makes too many steps between two barriers for this emulator; does every loop end?", site.pc);
    if (site.masks.size() == site.used) site.masks.push_back(0);
    site.masks[site.used++] = 0;
  }
  site.masks[number] |= 1u << lane;
}
