// How the host calls a kernel, and what it asks of the kernel's arguments.
#pragma once

namespace emulator {
template <class T> struct Code { static constexpr const char *text = "?"; };
#define EMULATOR_CODE(type, code) template <> struct Code<type> { static constexpr const char *text = code; };
EMULATOR_CODE(float, "float32") EMULATOR_CODE(double, "float64") EMULATOR_CODE(__half, "float16")
EMULATOR_CODE(bool, "bool") EMULATOR_CODE(char, "int8") EMULATOR_CODE(signed char, "int8")
EMULATOR_CODE(unsigned char, "uint8") EMULATOR_CODE(short, "int16") EMULATOR_CODE(unsigned short, "uint16")
EMULATOR_CODE(int, "int32") EMULATOR_CODE(unsigned, "uint32") EMULATOR_CODE(long, "int64")
EMULATOR_CODE(long long, "int64") EMULATOR_CODE(unsigned long, "uint64") EMULATOR_CODE(unsigned long long, "uint64")
EMULATOR_CODE(float2, "float32") EMULATOR_CODE(float4, "float32") EMULATOR_CODE(int2, "int32")
EMULATOR_CODE(int4, "int32") EMULATOR_CODE(uint2, "uint32") EMULATOR_CODE(uint4, "uint32")
EMULATOR_CODE(double2, "float64") EMULATOR_CODE(__half2, "float16") EMULATOR_CODE(float3, "float32")
template <class T> struct Code<T *> { static constexpr const char *text = "*"; };

struct Argument { const char *type; int bytes; int kind; };  // 0 a value, 1 a pointer, 2 to const; -1 the end
template <class T> struct Describe { static constexpr Argument argument{Code<T>::text, sizeof(T), 0}; };
template <class T> struct Describe<T *> {
  static constexpr Argument argument{Code<std::remove_const_t<T>>::text, sizeof(T), std::is_const_v<T> ? 2 : 1};
};
template <class... A> struct Arguments {
  static constexpr Argument list[] = {Describe<std::remove_const_t<A>>::argument..., {"", 0, -1}};
};
template <class... A> inline const Argument *describe(void (*)(A...)) { return Arguments<A...>::list; }
template <class... A, size_t... I>
__attribute__((always_inline)) inline void unpack(void (*kernel)(A...), void **values, std::index_sequence<I...>) {
  kernel(*(std::remove_const_t<A> *)values[I]...);
}
template <class... A>
__attribute__((always_inline)) inline void call(void (*kernel)(A...), void **values) {
  unpack(kernel, values, std::index_sequence_for<A...>{});
}
}  // namespace emulator

#define EMULATOR_VISIBLE extern "C" __attribute__((visibility("default")))
#define EMULATOR_ENTRY(number, ...) \
  EMULATOR_VISIBLE void emu_entry_##number(void **values) { emulator::call(__VA_ARGS__, values); } \
  EMULATOR_VISIBLE const emulator::Argument *emu_describe_##number() { return emulator::describe(__VA_ARGS__); }

extern "C" char __start_cuda_constant[] __attribute__((weak)), __stop_cuda_constant[] __attribute__((weak));
EMULATOR_VISIBLE void emu_constants(uintptr_t *begin, uintptr_t *end) {
  *begin = (uintptr_t)__start_cuda_constant;
  *end = (uintptr_t)__stop_cuda_constant;
}
#ifdef EMULATOR_INSTRUMENTED
EMULATOR_VISIBLE void emu_instrumented() {}
#endif
