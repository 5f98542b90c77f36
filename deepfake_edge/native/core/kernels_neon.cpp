// NEON: sixteen outputs at a time, picked out of one loaded window by table look-ups. What is not here runs as the
// plain C++ does, which compilers turn into NEON well where pixels need no picking.
#include <arm_neon.h>

#include <cstring>

#include "kernels.hpp"
#include "pixel.hpp"

namespace dfe {
namespace {

constexpr int kTableBytes = 64;

// Four outputs' pairs of pixels of one channel, as 16-bit numbers. `pick` has each pixel's place in bytes 0 and 2;
// what lies outside the table comes out as 0.
int16x8_t gather(const uint8x16x4_t& window, uint8x16_t pick, std::uint8_t channel) {
    const uint8x16_t odd = vreinterpretq_u8_u16(vdupq_n_u16(0xFF00));
    const uint8x16_t places = vorrq_u8(vaddq_u8(pick, vdupq_n_u8(channel)), odd);
    return vreinterpretq_s16_u8(vqtbl4q_u8(window, places));
}

// Sums of four neighbouring pairs of products.
int32x4_t times(int16x8_t pairs, int16x8_t weights) {
    return vpaddq_s32(vmull_s16(vget_low_s16(pairs), vget_low_s16(weights)), vmull_high_s16(pairs, weights));
}

uint8x16x4_t load_window(const std::uint8_t* at) {
    return {{vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)}};
}

void blend_row(const std::uint8_t* row, const Taps& taps, std::int16_t* planes) {
    if (taps.span > kTableBytes) return kGenericKernels.blend_row(row, taps, planes);
    for (int i = 0; i < taps.padded; i += kGroup) {
        const uint8x16x4_t window = load_window(row + taps.offset[i]);
        for (int k = i; k < i + kGroup; k += 4) {
            const uint8x16_t pick = vld1q_u8(taps.pick + 4 * k);
            const int16x8_t weights = vld1q_s16(taps.high + 2 * k);
            for (std::uint8_t channel = 0; channel < 3; ++channel) {
                const int32x4_t sums = times(gather(window, pick, channel), weights);
                vst1_s16(planes + channel * taps.padded + k, vshrn_n_s32(sums, 4));
            }
        }
    }
}

// Calls store(i, sums) for every four outputs' exact sums; the halves may wrap, the whole does not.
template <typename Store>
void convolve(const std::uint8_t* row, const Taps& taps, Store store) {
    for (int k = 0; k < taps.padded; k += 4) {
        const std::uint8_t* window = row + taps.offset[k - k % kGroup];
        const uint8x16_t pick = vld1q_u8(taps.pick + 4 * k);
        std::ptrdiff_t at = std::ptrdiff_t{2} * k;
        int32x4_t high[3] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
        int32x4_t low[3] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
        for (int p = 0; p < taps.pairs; ++p) {
            const uint8x16x4_t pixels = load_window(window);
            for (std::uint8_t channel = 0; channel < 3; ++channel) {
                const int16x8_t pairs = gather(pixels, pick, channel);
                high[channel] = vaddq_s32(high[channel], times(pairs, vld1q_s16(taps.high + at)));
                low[channel] = vaddq_s32(low[channel], times(pairs, vld1q_s16(taps.low + at)));
            }
            window += 2 * taps.pixel_bytes;
            at += std::ptrdiff_t{2} * taps.padded;
        }
        for (int channel = 0; channel < 3; ++channel) {
            store(channel * taps.padded + k, vaddq_s32(vshlq_n_s32(high[channel], 8), low[channel]));
        }
    }
}

void rounded_row(const std::uint8_t* row, const Taps& taps, std::uint8_t* planes) {
    if (taps.span > kTableBytes) return kGenericKernels.rounded_row(row, taps, planes);
    convolve(row, taps, [&](int at, int32x4_t sums) {
        const int16x4_t words = vqmovn_s32(vrshrq_n_s32(sums, kRoundedBits));
        const uint8x8_t bytes = vqmovun_s16(vcombine_s16(words, words));
        const std::uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
        std::memcpy(planes + at, &four, sizeof four);
    });
}

void mean_row(const std::uint8_t* row, const Taps& taps, float* planes) {
    if (taps.span > kTableBytes) return kGenericKernels.mean_row(row, taps, planes);
    convolve(row, taps, [&](int at, int32x4_t sums) { vst1q_f32(planes + at, vcvtq_f32_s32(sums)); });
}

float32x4_t normal(int16x4_t pixels, Affine affine) {
    const float32x4_t values = vcvtq_f32_s32(vmovl_s16(pixels));
    return vmulq_f32(vsubq_f32(values, vdupq_n_f32(affine.mean)), vdupq_n_f32(affine.scale));
}

int16x8_t high_half(int16x8_t row, int16x4_t weights) {
    return vcombine_s16(vshrn_n_s32(vmull_s16(vget_low_s16(row), weights), 16),
                        vshrn_n_s32(vmull_s16(vget_high_s16(row), weights), 16));
}

void blend_eight(const std::int16_t* upper_row, const std::int16_t* lower_row, const std::int32_t* weights,
                 Affine affine, float* out) {
    const int16x4_t upper = vdup_n_s16(static_cast<std::int16_t>(weights[0]));
    const int16x4_t lower = vdup_n_s16(static_cast<std::int16_t>(weights[1]));
    const int16x8_t sum = vaddq_s16(high_half(vld1q_s16(upper_row), upper), high_half(vld1q_s16(lower_row), lower));
    const int16x8_t pixels = vrshrq_n_s16(sum, 2);
    vst1q_f32(out, normal(vget_low_s16(pixels), affine));
    vst1q_f32(out + 4, normal(vget_high_s16(pixels), affine));
}

// The last eight values overlap those before them; fewer than eight go through a buffer.
void blend(const std::int16_t* const* rows, const std::int32_t* weights, Affine affine, float* out, int count) {
    if (count < 8) {
        float buffer[8];
        blend_eight(rows[0], rows[1], weights, affine, buffer);
        std::memcpy(out, buffer, static_cast<std::size_t>(count) * sizeof(float));
        return;
    }
    for (int i = 0; i + 8 <= count; i += 8) blend_eight(rows[0] + i, rows[1] + i, weights, affine, out + i);
    const int last = count - 8;
    if (count % 8 != 0) blend_eight(rows[0] + last, rows[1] + last, weights, affine, out + last);
}

void rounded(const std::uint8_t* const* rows, const ColumnTaps& taps, Affine affine, float* out, int count) {
    kGenericKernels.rounded(rows, taps, affine, out, count);
}

void rounded_bytes(const std::uint8_t* const* rows, const ColumnTaps& taps, std::uint8_t* out, int count) {
    kGenericKernels.rounded_bytes(rows, taps, out, count);
}

void mean(const float* const* rows, const float* weights, int taps, MeanStep step, Affine affine, float* out,
          int count) {
    kGenericKernels.mean(rows, weights, taps, step, affine, out, count);
}

void nv12_row(const std::uint8_t* y, const std::uint8_t* uv, int left, int width, std::uint8_t* bgrx) {
    kGenericKernels.nv12_row(y, uv, left, width, bgrx);
}

}  // namespace

const Kernels kNeonKernels = {"neon", blend_row, rounded_row, mean_row, blend, rounded, mean, rounded_bytes, nv12_row};

}  // namespace dfe
