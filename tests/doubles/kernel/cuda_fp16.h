// A double of CUDA's header: the one type and the one conversion that the kernel uses. Needs a compiler with _Float16.
#pragma once

#include <cstring>

struct __half {
    unsigned short bits;
};

// Rounds to nearest, halves to even, as the device does.
inline __half __float2half_rn(float value) {
    const _Float16 half = static_cast<_Float16>(value);
    __half result;
    std::memcpy(&result.bits, &half, sizeof half);
    return result;
}
