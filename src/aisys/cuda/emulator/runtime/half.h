// 16-bit floating point: stored in two bytes, computed in float and rounded to nearest even.
#pragma once

struct __half {
  uint16_t stored;
  __half() = default;
  __half(float x) : stored(round(x)) {}
  operator float() const { return expand(stored); }

 private:
  static uint16_t round(float x) {
    uint32_t bits = emulator::value<uint32_t>(emulator::bits(x)), sign = bits >> 16 & 0x8000u;
    uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return sign | 0x7e00u;          // not a number
    if (rest >= 0x477ff000u) return sign | 0x7c00u;         // rounds to infinity
    if (rest < 0x38800000u) {                               // subnormal: a multiple of 2^-24
      float scaled = emulator::value<float>(rest) * 16777216.0f;
      return sign | (uint16_t)nearbyintf(scaled);
    }
    uint32_t odd = rest >> 13 & 1u;
    return sign | (uint16_t)((rest - 0x38000000u + 0xfffu + odd) >> 13);
  }
  static float expand(uint16_t half) {
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    if (exponent == 0) {
      float tiny = (float)fraction / 16777216.0f;
      return sign ? -tiny : tiny;
    }
    uint32_t bits = exponent == 31 ? 0x7f800000u | fraction << 13 : (exponent + 112) << 23 | fraction << 13;
    return emulator::value<float>(sign | bits);
  }
};
typedef __half half;
struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;

inline __half __float2half(float x) { return __half(x); }
inline float __half2float(__half x) { return (float)x; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 v) { return {(float)v.x, (float)v.y}; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
#define EMULATOR_HALF(op) \
  inline __half operator op(__half x, __half y) { return __half((float)x op (float)y); } \
  inline __half2 operator op(__half2 a, __half2 b) { return {a.x op b.x, a.y op b.y}; }
EMULATOR_HALF(+) EMULATOR_HALF(-) EMULATOR_HALF(*) EMULATOR_HALF(/)
inline __half &operator+=(__half &x, __half y) { return x = x + y; }
inline __half &operator*=(__half &x, __half y) { return x = x * y; }
inline __half __hadd(__half x, __half y) { return x + y; }
inline __half __hsub(__half x, __half y) { return x - y; }
inline __half __hmul(__half x, __half y) { return x * y; }
inline __half __hfma(__half x, __half y, __half z) { return __half(fmaf(x, y, z)); }
inline __half2 __hadd2(__half2 a, __half2 b) { return a + b; }
inline __half2 __hmul2(__half2 a, __half2 b) { return a * b; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
