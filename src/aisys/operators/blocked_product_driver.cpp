// Both instances of blocked_product: on floats, and on numbers whose accesses go through a cache.
#include <array>

#include "blocked_product.cpp"

namespace {

// 64 sets of 8 lines of 64 bytes; in each set the line that was used longest ago makes room.
struct Cache {
    std::array<std::array<uint64_t, 8>, 64> lines{};
    int64_t misses = 0;

    void touch(const void* address) {
        const uint64_t line = reinterpret_cast<uintptr_t>(address) / 64;
        auto& set = lines[line % 64];
        auto place = std::find(set.begin(), set.end(), line);
        if (place == set.end()) {
            ++misses;
            --place;
        }
        std::rotate(set.begin(), place, place + 1);
        set[0] = line;
    }
};

Cache cache;

struct Traced {
    float value = 0;

    Traced() = default;
    Traced(float number) : value(number) {}
    Traced(const Traced& other) : value(other.read()) {}
    Traced& operator=(const Traced& other) {
        value = other.read();
        cache.touch(this);
        return *this;
    }
    Traced& operator+=(const Traced& other) { return *this = Traced(read() + other.read()); }
    friend Traced operator*(const Traced& a, const Traced& b) { return a.read() * b.read(); }
    friend Traced operator+(const Traced& a, const Traced& b) { return a.read() + b.read(); }

    float read() const {
        cache.touch(this);
        return value;
    }
};

}  // namespace

extern "C" void product_of_floats(
    const float* x, const float* weight, float* product,
    int64_t rows, int64_t inner, int64_t columns) {
    blocked_product(x, weight, product, rows, inner, columns);
}

// The misses of a product of matrices of zeros that begin in memory, not in the cache.
extern "C" int64_t misses_of_product(int64_t rows, int64_t inner, int64_t columns) {
    struct alignas(4096) Page {
        Traced numbers[1024];
    };
    const auto pages = [](int64_t numbers) { return std::vector<Page>(numbers / 1024 + 1); };
    auto x = pages(rows * inner), weight = pages(columns * inner), product = pages(rows * columns);
    cache = Cache();
    blocked_product<Traced>(
        x[0].numbers, weight[0].numbers, product[0].numbers, rows, inner, columns);
    return cache.misses;
}
