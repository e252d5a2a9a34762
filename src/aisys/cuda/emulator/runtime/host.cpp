// The process that kernels run in: it takes launches from its input and answers on a pipe, in lines.
//
//   launch ENTRY GRID(3) BLOCK(3) SHARED_BYTES COUNT CHECKS MILLISECONDS ARGUMENTS
//   array OFFSET BYTES ITEM WRITABLE NAME     an argument in the memory that both processes map
//   value HEX                                 an argument by value
//   constant ADDRESS HEX                      sets a constant of the module
//   describe ENTRY                            the types of a kernel's arguments
//
// Every answer is one line of JSON. When a kernel ends the process, the last line says how.
#include "emulator.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <iostream>
#include <link.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

using namespace emulator;

namespace {
int answers = 1, memory = 0;
struct Argument { const char *type; int bytes, kind; };
void *module_handle;
uintptr_t module_base, module_end, constants_begin, constants_end;
alignas(16) char parameters[1 << 14];  // a kernel's arguments, which it may read
char *mapped;
size_t mapped_bytes;

void answer(const std::string &line) {
  std::string text = line + "\n";
  for (size_t done = 0; done < text.size();) {
    ssize_t n = write(answers, text.data() + done, text.size() - done);
    if (n <= 0) _exit(1);
    done += (size_t)n;
  }
}

std::string quoted(const std::string &text) {
  std::string result = "\"";
  char code[8];
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') (result += '\\') += (char)c;
    else if (c < 32 || c > 126) snprintf(code, sizeof code, "\\u%04x", c), result += code;
    else result += (char)c;
  }
  return result + "\"";
}

uintptr_t offset(uintptr_t pc) { return pc >= module_base && pc < module_end ? pc - module_base : 0; }

std::string json(const Report &report) {
  return "{\"kind\":" + quoted(report.kind) + ",\"text\":" + quoted(report.text) + ",\"pc\":" +
         std::to_string(offset(report.pc)) + ",\"other\":" + std::to_string(offset(report.other)) +
         ",\"line\":" + std::to_string(report.line) + "}";
}

// A kernel ran too long or did what the processor refuses: say where, and end.
void on_signal(int number, siginfo_t *, void *context) {
#if defined(__x86_64__)
  uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.pc;
#else
  uintptr_t pc = 0;
#endif
  const char *kind = number == SIGPROF ? "timeout" : "crash";
  uintptr_t where = offset(pc) ? offset(pc) : offset(last_pc);
  char line[256];
  int length = snprintf(line, sizeof line,
                        "{\"fault\":{\"kind\":\"%s\",\"text\":\"signal %d\",\"pc\":%zu,\"other\":0,\"line\":0},\"ended\":true}\n",
                        kind, number, (size_t)where);
  if (write(answers, line, (size_t)length) < 0) _exit(1);
  _exit(0);
}

void catch_signals() {
  static char stack[64 << 10];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF}) sigaction(number, &action, nullptr);
}

void set_timer(long milliseconds) {
  itimerval timer{};
  timer.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000};
  setitimer(ITIMER_PROF, &timer, nullptr);
}

int note_module(dl_phdr_info *info, size_t, void *base) {
  if (info->dlpi_addr != (uintptr_t)base) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto &part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    module_end = std::max(module_end, module_base + part.p_vaddr + part.p_memsz);
    if (!(part.p_flags & (PF_X | PF_W)))
      arrays.push_back({module_base + part.p_vaddr, module_base + part.p_vaddr + part.p_memsz, "constants", 4, false, kConstant});
  }
  return 1;
}

void load(const char *path) {
  module_handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!module_handle) {
    answer("{\"error\":" + quoted(dlerror()) + "}");
    _exit(1);
  }
  Dl_info about{};
  dladdr(dlsym(module_handle, "emu_constants"), &about);
  module_base = (uintptr_t)about.dli_fbase;
  dl_iterate_phdr(note_module, (void *)module_base);
  auto constants = (void (*)(uintptr_t *, uintptr_t *))dlsym(module_handle, "emu_constants");
  constants(&constants_begin, &constants_end);
  if (constants_begin) arrays.push_back({constants_begin, constants_end, "constant memory", 4, false, kConstant});
  counting = dlsym(module_handle, "emu_instrumented") != nullptr;
}

void map_memory() {
  struct stat about{};
  if (fstat(memory, &about) != 0 || (size_t)about.st_size == mapped_bytes) return;
  if (mapped) munmap(mapped, mapped_bytes);
  mapped_bytes = (size_t)about.st_size;
  mapped = (char *)mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (mapped == MAP_FAILED) _exit(1);
}

std::vector<char> from_hex(const std::string &hex) {
  std::vector<char> bytes(hex.size() / 2 + 16);
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes[i / 2] = (char)std::stoi(hex.substr(i, 2), nullptr, 16);
  return bytes;
}

template <class F> F symbol(const std::string &name) {
  void *found = dlsym(module_handle, name.c_str());
  if (!found) {
    answer("{\"error\":\"no such kernel\"}");
    _exit(1);
  }
  return (F)found;
}

void describe(std::istringstream &words) {
  std::string entry, text = "[";
  words >> entry;
  for (const Argument *a = symbol<const Argument *(*)()>("emu_describe_" + entry)(); a->kind >= 0; a++)
    text += std::string(text.size() > 1 ? "," : "") + "[\"" + a->type + "\"," + std::to_string(a->bytes) + "," + std::to_string(a->kind) + "]";
  answer("{\"arguments\":" + text + "]}");
}

void launch(std::istringstream &words) {
  std::string entry, line, kind;
  uint3 grid{}, block{};
  unsigned dynamic = 0;
  int count = 0;
  long milliseconds = 0;
  size_t number = 0;
  words >> entry >> grid.x >> grid.y >> grid.z >> block.x >> block.y >> block.z >> dynamic >> count >> checks >> milliseconds >> number;
  map_memory();
  size_t own = arrays.size();
  constexpr size_t kRoom = 64;
  if (number > sizeof parameters / kRoom / 2) _exit(1);
  void **values = (void **)parameters;
  arrays.push_back({(uintptr_t)parameters, (uintptr_t)parameters + sizeof parameters, "parameters", 4, false, kConstant});
  for (size_t i = 0; i < number && std::getline(std::cin, line); i++) {
    std::istringstream part(line);
    char *place = parameters + sizeof parameters / 2 + i * kRoom;
    values[i] = place;
    part >> kind;
    if (kind == "array") {
      size_t where = 0, bytes = 0;
      Array array{};
      part >> where >> bytes >> array.item >> array.writable >> array.name;
      array.begin = (uintptr_t)mapped + where;
      array.end = array.begin + bytes;
      arrays.push_back(array);
      char *pointer = mapped + where;
      memcpy(place, &pointer, sizeof pointer);
    } else {
      part >> line;
      std::vector<char> bytes = from_hex(line);
      memcpy(place, bytes.data(), std::min(bytes.size(), kRoom));
    }
  }
  auto kernel = symbol<void (*)(void **)>("emu_entry_" + entry);
  fault = {};
  findings.clear();
  printed.clear();
  begin_memory(dynamic, checks & kRaces);
  begin_counts();
  begin_races();
  set_timer(milliseconds);
  run(kernel, values, grid, block);
  set_timer(0);
  std::string sites = counting && count ? counts_json() : "[]";
  arrays.resize(own);
  std::string found = "[";
  for (const Report &report : findings) found += (found.size() > 1 ? "," : "") + json(report);
  answer("{\"fault\":" + (fault.kind.empty() ? "null" : json(fault)) + ",\"findings\":" + found +
         "],\"shared_bytes\":" + std::to_string(static_shared_bytes() + dynamic) + ",\"barriers\":" +
         std::to_string(barriers()) + ",\"base\":" + std::to_string(module_base) + ",\"timeline\":" + timeline_json() + ",\"sites\":" + sites +
         ",\"printed\":" + quoted(printed) + "}");
}

void set_constant(std::istringstream &words) {
  uintptr_t where = 0;
  std::string hex;
  words >> where >> hex;
  where += module_base;
  if (where < constants_begin || where + hex.size() / 2 > constants_end) _exit(1);
  std::vector<char> bytes = from_hex(hex);
  memcpy((void *)where, bytes.data(), hex.size() / 2);
  answer("{}");
}
}  // namespace

int main(int, char **words) {
  std::ios::sync_with_stdio(false);
  answers = atoi(words[2]);
  memory = atoi(words[3]);
  catch_signals();
  load(words[1]);
  answer("{}");
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream parts(line);
    std::string what;
    parts >> what;
    if (what == "launch") launch(parts);
    if (what == "describe") describe(parts);
    if (what == "constant") set_constant(parts);
  }
}
