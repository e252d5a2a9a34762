// The threads of a block as fibers of one thread: they run in order, and stop where they wait.
#include "emulator.h"

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

namespace emulator {
namespace {
enum State : uint8_t { kReady, kAtBarrier, kAtWarp, kDone };

struct Fiber {
  jmp_buf here;
  char *stack = nullptr;
  bool started = false;
  State state = kDone;
  uint3 index{};
  int kind = 0, line = 0, argument = 0, width = 0;
  uint32_t mask = 0;
  uint64_t value = 0, result = 0;
};

std::vector<Fiber> fibers;
std::vector<uint32_t> warp_epochs;
jmp_buf scheduler, launcher;
ucontext_t starter;
unsigned current, count_of_threads, current_block;
uint32_t epoch, passed;
std::vector<std::vector<uint32_t>> timeline;
uint3 grid_size, block_size, block_index;
void (*entry)(void **);
void **values;

void body() {
  for (;;) {
    entry(values);
    fibers[current].state = kDone;
    if (_setjmp(fibers[current].here) == 0) _longjmp(scheduler, 1);
  }
}

void resume(unsigned number) {
  Fiber &fiber = fibers[number];
  current = number;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, body, 0);
  swapcontext(&starter, &context);
}

void wait() {
  if (_setjmp(fibers[current].here) == 0) _longjmp(scheduler, 1);
}

// A lane's value after a shuffle; lanes outside the mask or the warp give back one's own.
uint64_t shuffled(unsigned first, unsigned lane) {
  const Fiber &me = fibers[first + lane];
  unsigned width = me.width, base = lane / width * width, from = lane;
  int argument = me.argument;
  if (me.kind == 1) from = base + (unsigned)argument % width;
  if (me.kind == 2) from = (int)(lane - base) >= argument ? lane - argument : lane;
  if (me.kind == 3) from = lane - base + (unsigned)argument < width ? lane + argument : lane;
  if (me.kind == 4) from = (lane ^ argument) < base + width ? lane ^ argument : lane;
  if (from >= kWarp || first + from >= count_of_threads || !(me.mask >> from & 1)) return me.value;
  // What a lane that has ended would give is undefined on a GPU: here it is nothing that adds up.
  return fibers[first + from].state == kDone ? ~0ull : fibers[first + from].value;
}

// Lets a warp's lanes go on that wait for each other and are all there; ended lanes are not waited for.
bool resolve(unsigned first) {
  unsigned last = std::min(first + kWarp, count_of_threads);
  bool any = false;
  for (unsigned t = first; t < last; t++) {
    Fiber &leader = fibers[t];
    if (leader.state != kAtWarp) continue;
    bool complete = true;
    uint32_t ballot = 0, present = 0;
    for (unsigned lane = 0; lane < last - first && complete; lane++) {
      Fiber &other = fibers[first + lane];
      if (!(leader.mask >> lane & 1) || other.state == kDone) continue;
      complete = other.state == kAtWarp && other.kind == leader.kind && other.line == leader.line &&
                 other.mask == leader.mask;
      present |= 1u << lane;
      if (other.value) ballot |= 1u << lane;
    }
    if (!complete) continue;
    for (unsigned lane = 0; lane < last - first; lane++) {
      if (!(present >> lane & 1)) continue;
      Fiber &other = fibers[first + lane];
      if (leader.kind >= 1 && leader.kind <= 4) other.result = shuffled(first, lane);
      if (leader.kind == 5) other.result = ballot;
      if (leader.kind == 6) other.result = ballot == present;
    }
    for (unsigned lane = 0; lane < last - first; lane++)
      if (present >> lane & 1) fibers[first + lane].state = kReady;
    warp_epochs[first / kWarp]++;
    any = true;
  }
  return any;
}

void run_warp(unsigned first) {
  unsigned last = std::min(first + kWarp, count_of_threads);
  do {
    for (unsigned t = first; t < last; t++)
      if (fibers[t].state == kReady) resume(t);
  } while (resolve(first));
  unsigned steps = counting ? settle() : 0;
  if (current_block == 0) timeline.back().push_back(steps);
}

// All threads stand still: either all at one barrier, or all ended, or nothing can go on.
bool release() {
  unsigned done = 0, at_barrier = 0, first = kMostThreads, stuck = kMostThreads;
  for (unsigned t = 0; t < count_of_threads; t++) {
    done += fibers[t].state == kDone;
    if (fibers[t].state == kAtBarrier && at_barrier++ == 0) first = t;
    if (fibers[t].state == kAtWarp && stuck == kMostThreads) stuck = t;
  }
  if (done == count_of_threads) return false;
  if (stuck < kMostThreads) {
    current = stuck;
    fail("deadlock", "a lane waits for lanes of its mask that wait elsewhere, so none can go on", 0, fibers[stuck].line);
  }
  Fiber &leader = fibers[first];
  current = first;
  if (done > 0)
    fail("barrier", std::to_string(at_barrier) + " threads of the block wait at this barrier and " +
         std::to_string(done) + " ended without reaching it", 0, leader.line);
  int total = 0;
  for (unsigned t = 0; t < count_of_threads; t++) {
    if (fibers[t].line != leader.line || fibers[t].kind != leader.kind)
      fail("barrier", "some threads of the block wait at this barrier and some at that of line " +
           std::to_string(fibers[t].line), 0, leader.line);
    total += (int)fibers[t].value;
  }
  for (unsigned t = 0; t < count_of_threads; t++) {
    Fiber &fiber = fibers[t];
    fiber.result = leader.kind == 1 ? total : leader.kind == 2 ? total == (int)count_of_threads : total > 0;
    fiber.state = kReady;
  }
  epoch++;
  passed++;
  return true;
}

void run_block() {
  begin_block();
  for (unsigned t = 0; t < count_of_threads; t++) fibers[t].state = kReady;
  do {
    if (current_block == 0) timeline.emplace_back();
    for (unsigned first = 0; first < count_of_threads; first += kWarp) run_warp(first);
  } while (release());
  epoch++;
}

void make_fibers(unsigned count) {
  size_t page = 4096;
  while (fibers.size() < count) {
    fibers.emplace_back();
    void *memory = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("memory", "no memory for the threads' stacks");
    mprotect(memory, page, PROT_NONE);
    fibers.back().stack = (char *)memory + page;
  }
}
}  // namespace

unsigned thread() { return current; }
unsigned block() { return current_block; }
unsigned threads() { return count_of_threads; }
uint32_t block_epoch() { return epoch; }
uint32_t barriers() { return passed; }
uint32_t warp_epoch(unsigned t) { return warp_epochs[t / kWarp]; }
bool on_own_stack(uintptr_t address, size_t size) {
  uintptr_t offset = address - (uintptr_t)fibers[current].stack;
  return offset < kStack && size <= kStack - offset;
}

std::string timeline_json() {
  std::string text = "[";
  for (size_t i = 0; i < timeline.size() && i < 1000; i++) {
    text += i ? ",[" : "[";
    for (size_t w = 0; w < timeline[i].size(); w++) text += (w ? "," : "") + std::to_string(timeline[i][w]);
    text += "]";
  }
  return text + "]";
}

std::string name_of(unsigned t, unsigned b) {
  auto three = [](unsigned n, uint3 size) {
    return "(" + std::to_string(n % size.x) + ", " + std::to_string(n / size.x % size.y) + ", " +
           std::to_string(n / (size.x * size.y)) + ")";
  };
  return "thread " + three(t, block_size) + " of block " + three(b, grid_size);
}

void fail(const std::string &kind, const std::string &text, uintptr_t pc, int line) {
  fault = {kind, text, pc, 0, line, current, current_block, 0};
  _longjmp(launcher, 1);
}

void run(void (*kernel)(void **), void **arguments, uint3 grid, uint3 block) {
  entry = kernel;
  values = arguments;
  grid_size = grid;
  block_size = block;
  count_of_threads = block.x * block.y * block.z;
  current = current_block = 0;
  epoch = 1;
  passed = 0;
  timeline.clear();
  if (_setjmp(launcher) != 0) {
    for (Fiber &fiber : fibers) fiber.started = false;
    return;
  }
  make_fibers(count_of_threads);
  warp_epochs.assign((count_of_threads + kWarp - 1) / kWarp, 1);
  for (unsigned t = 0; t < count_of_threads; t++)
    fibers[t].index = {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        block_index = {x, y, z};
        run_block();
        current_block++;
      }
}
}  // namespace emulator

using namespace emulator;
extern "C" {
uint3 emu_thread_index() { return fibers[current].index; }
uint3 emu_block_index() { return block_index; }
uint3 emu_block_size() { return block_size; }
uint3 emu_grid_size() { return grid_size; }
unsigned emu_active_mask() {
  unsigned mask = 0, first = current / kWarp * kWarp;
  for (unsigned lane = 0; lane < kWarp && first + lane < count_of_threads; lane++)
    if (fibers[first + lane].state != kDone) mask |= 1u << lane;
  return mask;
}
int emu_barrier(int kind, int value, int line) {
  Fiber &me = fibers[current];
  me.state = kAtBarrier;
  me.kind = kind;
  me.value = value;
  me.line = line;
  wait();
  return (int)fibers[current].result;
}
uint64_t emu_warp(int kind, unsigned mask, uint64_t value, int argument, int width, int line) {
  unsigned lane = current % kWarp;
  if (!(mask >> lane & 1)) fail("warp", "a lane calls this with a mask that does not name it", 0, line);
  if (width < 1 || width > 32 || (width & (width - 1))) fail("warp", "the width of a shuffle is a power of two up to 32", 0, line);
  Fiber &me = fibers[current];
  me.state = kAtWarp;
  me.kind = kind;
  me.mask = mask;
  me.value = me.result = value;
  me.argument = argument;
  me.width = width;
  me.line = line;
  wait();
  return fibers[current].result;
}
}
