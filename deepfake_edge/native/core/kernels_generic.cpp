// Plain C++: what every CPU runs, and what the other sets are measured against.
#include "kernels.hpp"
#include "pixel.hpp"

namespace dfe {
namespace {

// Unsigned, because sums of the low halves alone may wrap; the whole never does.
std::int32_t convolve(const std::uint8_t* pixels, const Taps& taps, int output) {
    std::uint32_t sum = 0;
    for (int p = 0; p < taps.pairs; ++p) {
        const std::size_t at = 2 * (static_cast<std::size_t>(p) * static_cast<std::size_t>(taps.padded) +
                                    static_cast<std::size_t>(output));
        for (std::size_t k = 0; k < 2; ++k) {
            const std::int32_t weight = taps.high[at + k] * 256 + taps.low[at + k];
            sum += static_cast<std::uint32_t>(weight * pixels[0]);
            pixels += taps.pixel_bytes;
        }
    }
    return static_cast<std::int32_t>(sum);
}

template <typename Element, typename Finish>
void filter_row(const std::uint8_t* row, const Taps& taps, Element* planes, Finish finish) {
    for (int channel = 0; channel < 3; ++channel) {
        Element* plane = planes + channel * taps.padded;
        for (int i = 0; i < taps.padded; ++i) {
            plane[i] = finish(convolve(row + taps.offset[i] + channel, taps, i));
        }
    }
}

void blend_row(const std::uint8_t* row, const Taps& taps, std::int16_t* planes) {
    for (int channel = 0; channel < 3; ++channel) {
        std::int16_t* plane = planes + channel * taps.padded;
        for (int i = 0; i < taps.padded; ++i) {
            const std::uint8_t* pixel = row + taps.offset[i] + channel;
            const std::int32_t sum = pixel[0] * taps.high[2 * i] + pixel[taps.pixel_bytes] * taps.high[2 * i + 1];
            plane[i] = blend_across(sum);
        }
    }
}

void rounded_row(const std::uint8_t* row, const Taps& taps, std::uint8_t* planes) {
    filter_row(row, taps, planes, [](std::int32_t sum) { return rounded_byte(sum); });
}

void mean_row(const std::uint8_t* row, const Taps& taps, float* planes) {
    filter_row(row, taps, planes, [](std::int32_t sum) { return static_cast<float>(sum); });
}

void blend(const std::int16_t* const* rows, const std::int32_t* weights, Affine affine, float* out, int count) {
    for (int i = 0; i < count; ++i) {
        out[i] = affine(blend_down(rows[0][i], weights[0], rows[1][i], weights[1]));
    }
}

std::uint8_t rounded_at(const std::uint8_t* const* rows, const ColumnTaps& taps, int i) {
    std::int32_t sum = 0;
    for (int k = 0; k < 2 * taps.pairs; ++k) sum += rows[k][i] * (taps.high[k] * 256 + taps.low[k]);
    return rounded_byte(sum);
}

void rounded(const std::uint8_t* const* rows, const ColumnTaps& taps, Affine affine, float* out, int count) {
    for (int i = 0; i < count; ++i) out[i] = affine(rounded_at(rows, taps, i));
}

void rounded_bytes(const std::uint8_t* const* rows, const ColumnTaps& taps, std::uint8_t* out, int count) {
    for (int i = 0; i < count; ++i) out[i] = rounded_at(rows, taps, i);
}

void mean(const float* const* rows, const float* weights, int taps, MeanStep step, Affine affine, float* out,
          int count) {
    for (int i = 0; i < count; ++i) {
        float sum = rows[0][i] * weights[0];
        for (int k = 1; k < taps; ++k) sum += rows[k][i] * weights[k];
        out[i] = affine(mean_byte(sum, step.factor, step.bias));
    }
}

void nv12_row(const std::uint8_t* y, const std::uint8_t* uv, int left, int width, std::uint8_t* bgrx) {
    for (int x = left; x < left + width; ++x) {
        const std::uint8_t* chroma = uv + (x & ~1);
        nv12_pixel(y[x], chroma[0], chroma[1], bgrx);
        bgrx += 4;
    }
}

}  // namespace

const Kernels kGenericKernels = {"generic", blend_row, rounded_row,   mean_row, blend,
                                 rounded,   mean,      rounded_bytes, nv12_row};

}  // namespace dfe
