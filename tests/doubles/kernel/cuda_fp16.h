// A double of CUDA's header: the one type and the one conversion that the kernel uses.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct __half {
    std::uint16_t bits;
};

// Rounds to nearest, halves to even, as the device does. Bits by hand: not every compiler of C++ has a 16-bit float.
inline __half __float2half_rn(float value) {
    constexpr float kSmallestNormal = 6.103515625e-05F;  // 2^-14
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
    std::uint32_t magnitude = 0;
    if (std::isnan(value)) {
        magnitude = 0x7FFF;
    } else if (std::fabs(value) >= 65520.0F) {
        magnitude = 0x7C00;
    } else if (std::fabs(value) < kSmallestNormal) {
        magnitude = static_cast<std::uint32_t>(std::lrintf(std::ldexp(std::fabs(value), 24)));
    } else {
        // 13 bits fewer, and an exponent that counts from 15, not from 127.
        bits &= 0x7FFFFFFFU;
        magnitude = (bits + 0xFFFU + ((bits >> 13) & 1U) - (112U << 23)) >> 13;
    }
    return {static_cast<std::uint16_t>(sign | magnitude)};
}
