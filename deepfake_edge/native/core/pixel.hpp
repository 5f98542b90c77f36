// The arithmetic of one pixel, the same on every CPU and on a GPU.
//
// It is compiled into files with different machine flags, and by nvcc for the device: always inlined, so that no copy
// of one machine's ever serves another, and without what a GPU's compiler lacks.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define DFE_HD __host__ __device__ __forceinline__
#else
#define DFE_HD inline __attribute__((always_inline))
#endif

namespace dfe {

// The arithmetic that a resize is carried out in.
enum class Method : std::uint8_t {
    kBlend,    // OpenCV's 11-bit bilinear: two taps an axis
    kRounded,  // Pillow's 22-bit convolution, rounded to a byte after each axis
    kMean,     // OpenCV's area mean
};

constexpr int kBlendBits = 11;
constexpr int kRoundedBits = 22;

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

    DFE_HD float operator()(std::int32_t pixel) const { return (static_cast<float>(pixel) - mean) * scale; }
};

DFE_HD std::uint8_t clip_to_byte(std::int32_t value) {
    return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// One pixel as B, G, R, 0.
DFE_HD void nv12_pixel(std::uint8_t y, std::uint8_t u, std::uint8_t v, std::uint8_t* bgrx) {
    const std::int32_t luma = (y < 16 ? 0 : y - 16) * kYuvLuma + kYuvHalf;
    const std::int32_t du = u - 128;
    const std::int32_t dv = v - 128;
    bgrx[0] = clip_to_byte((luma + kYuvBlueU * du) >> kYuvShift);
    bgrx[1] = clip_to_byte((luma + kYuvGreenU * du + kYuvGreenV * dv) >> kYuvShift);
    bgrx[2] = clip_to_byte((luma + kYuvRedV * dv) >> kYuvShift);
    bgrx[3] = 0;
}

// kBlend along a row: the sum of two weighted pixels, cut to the 16 bits that OpenCV keeps.
DFE_HD std::int16_t blend_across(std::int32_t sum) { return static_cast<std::int16_t>(sum >> 4); }

// kBlend between rows, OpenCV's VResizeLinear: 16-bit products, each cut before they are added.
DFE_HD std::int32_t blend_down(std::int32_t upper, std::int32_t upper_weight, std::int32_t lower,
                               std::int32_t lower_weight) {
    return (((upper * upper_weight) >> 16) + ((lower * lower_weight) >> 16) + 2) >> 2;
}

// kRounded after either axis.
DFE_HD std::uint8_t rounded_byte(std::int32_t sum) {
    return clip_to_byte((sum + (1 << (kRoundedBits - 1))) >> kRoundedBits);
}

// kMean's last step: halves to even, as OpenCV does it.
DFE_HD std::uint8_t mean_byte(float sum, float factor, float bias) {
    return clip_to_byte(static_cast<std::int32_t>(lrintf(sum * factor + bias)));
}

}  // namespace dfe
