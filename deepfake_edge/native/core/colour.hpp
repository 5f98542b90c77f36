// Colour: NV12 to BGR, and a pixel to the number that a network sees.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dfe {

// BT.601, limited range, in 1/2^20: the constants of OpenCV's YUV2BGR_NV12.
constexpr int kYuvShift = 20;
constexpr std::int32_t kYuvHalf = 1 << (kYuvShift - 1);
constexpr std::int32_t kYuvLuma = 1220542;
constexpr std::int32_t kYuvBlueU = 2116026;
constexpr std::int32_t kYuvGreenU = -409993;
constexpr std::int32_t kYuvGreenV = -852492;
constexpr std::int32_t kYuvRedV = 1673527;

// value = (pixel - mean) * scale, in two steps, so that it has the bits that float32 arrays give.
struct Affine {
    float mean;
    float scale;

    float operator()(std::int32_t pixel) const { return (static_cast<float>(pixel) - mean) * scale; }
};

inline std::uint8_t clip_to_byte(std::int32_t value) {
    return static_cast<std::uint8_t>(std::min(std::max(value, 0), 255));
}

// One pixel as B, G, R, 0.
inline void nv12_pixel(std::uint8_t y, std::uint8_t u, std::uint8_t v, std::uint8_t* bgrx) {
    const std::int32_t luma = std::max(y - 16, 0) * kYuvLuma + kYuvHalf;
    const std::int32_t du = u - 128;
    const std::int32_t dv = v - 128;
    bgrx[0] = clip_to_byte((luma + kYuvBlueU * du) >> kYuvShift);
    bgrx[1] = clip_to_byte((luma + kYuvGreenU * du + kYuvGreenV * dv) >> kYuvShift);
    bgrx[2] = clip_to_byte((luma + kYuvRedV * dv) >> kYuvShift);
    bgrx[3] = 0;
}

}  // namespace dfe
