// What the parts of the runtime share. A launch is one thread of the host; a CUDA thread is a fiber.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct uint3 { unsigned x, y, z; };

namespace emulator {
constexpr unsigned kWarp = 32, kMostThreads = 1024;
constexpr size_t kStack = 128 << 10, kMostShared = 232448, kMostPrinted = 1 << 20;

enum Check { kCounts = 1, kRaces = 2 };
enum Space : uint8_t { kGlobal, kShared, kConstant };
enum Access : uint8_t { kRead, kWrite, kAtomic };

// One array of a launch, or the constants of the module.
struct Array { uintptr_t begin, end; std::string name; unsigned item; bool writable; Space space; };

// What went wrong: the launch ends with the first fault; findings are collected.
struct Report {
  std::string kind, text;
  uintptr_t pc = 0, other = 0;
  int line = 0;
  unsigned thread = 0, block = 0, second = 0;
};

// fibers.cpp: who runs.
void run(void (*entry)(void **), void **values, uint3 grid, uint3 block);
unsigned thread();                     // the running thread's number in its block
unsigned block();                      // the running block's number in the grid
unsigned threads();                    // of a block
uint32_t block_epoch();                // grows with every barrier of this launch
uint32_t barriers();                   // that blocks have passed
std::string timeline_json();           // steps of each warp of the first block between barriers
uint32_t warp_epoch(unsigned thread);  // the same for a warp's own
bool on_own_stack(uintptr_t address, size_t size);
std::string name_of(unsigned thread, unsigned block);
[[noreturn]] void fail(const std::string &kind, const std::string &text, uintptr_t pc = 0, int line = 0);

// memory.cpp: what may be touched, and shared memory.
extern std::vector<Array> arrays;
void begin_memory(unsigned dynamic_bytes, bool checks);
void begin_block();
const Array *find(uintptr_t address, unsigned size);
bool shared_initialised(uintptr_t address, unsigned size, bool write);
[[noreturn]] void refuse(uintptr_t pc, uintptr_t address, unsigned size, Access access);
std::string element(const Array &array, uintptr_t address);
std::string shared_name(uintptr_t address);
unsigned static_shared_bytes();

// counting.cpp: what each instruction of a warp costs.
void begin_counts();
void count(uintptr_t pc, uintptr_t address, unsigned size, Access access, Space space);
unsigned settle();  // the lanes of a warp have all stopped; returns the steps that it made
std::string counts_json();

// races.cpp: who touched a word last, and whether that was in order.
void begin_races();
void check_race(uintptr_t pc, uintptr_t address, unsigned size, Access access, const Array &array);
void fence();
void acquired();

// Findings, each pair of places once.
void find_fault(const Report &report);
extern std::vector<Report> findings;
extern Report fault;
extern std::string printed;
extern int checks;
extern uintptr_t last_pc; // of the latest access or block of instructions
extern bool counting;  // whether the module's accesses are seen at all
}  // namespace emulator
