// AVX-512 with VBMI: sixteen outputs at a time, picked out of one loaded window by byte permutes. Where the taps of
// sixteen outputs are further apart than a window is wide, the AVX2 rows take over.
#include <immintrin.h>

#include <cstring>

#include "kernels.hpp"
#include "pixel.hpp"

namespace dfe {
namespace {

constexpr __mmask64 kLowBytes = 0x5555555555555555;

struct Bgr {
    __m512i b;
    __m512i g;
    __m512i r;
};

__m512i load(const void* at) { return _mm512_loadu_si512(at); }

// Sixteen outputs' pairs of pixels, one 16-bit pair a channel, out of 64 bytes (Windows = 1) or 128.
template <int Windows>
Bgr gather(const std::uint8_t* window, __m512i blue, __m512i green, __m512i red) {
    const __m512i first = load(window);
    if (Windows == 1) {
        return {_mm512_maskz_permutexvar_epi8(kLowBytes, blue, first),
                _mm512_maskz_permutexvar_epi8(kLowBytes, green, first),
                _mm512_maskz_permutexvar_epi8(kLowBytes, red, first)};
    }
    const __m512i second = load(window + 64);
    return {_mm512_maskz_permutex2var_epi8(kLowBytes, first, blue, second),
            _mm512_maskz_permutex2var_epi8(kLowBytes, first, green, second),
            _mm512_maskz_permutex2var_epi8(kLowBytes, first, red, second)};
}

Bgr times(const Bgr& pairs, __m512i weights) {
    return {_mm512_madd_epi16(pairs.b, weights), _mm512_madd_epi16(pairs.g, weights),
            _mm512_madd_epi16(pairs.r, weights)};
}

Bgr plus(const Bgr& x, const Bgr& y) {
    return {_mm512_add_epi32(x.b, y.b), _mm512_add_epi32(x.g, y.g), _mm512_add_epi32(x.r, y.r)};
}

// Calls store(i, sums) for every sixteen outputs' exact sums; the halves may wrap, the whole does not.
template <int Windows, typename Store>
void convolve(const std::uint8_t* row, const Taps& taps, Store store) {
    const __m512i zero = _mm512_setzero_si512();
    for (int i = 0; i < taps.padded; i += 16) {
        const __m512i blue = load(taps.pick + 4 * i);
        const __m512i green = _mm512_add_epi8(blue, _mm512_set1_epi8(1));
        const __m512i red = _mm512_add_epi8(blue, _mm512_set1_epi8(2));
        const std::uint8_t* window = row + taps.offset[i];
        Bgr high{zero, zero, zero};
        Bgr low{zero, zero, zero};
        std::ptrdiff_t at = std::ptrdiff_t{2} * i;
        for (int p = 0; p < taps.pairs; ++p) {
            const Bgr pairs = gather<Windows>(window, blue, green, red);
            high = plus(high, times(pairs, load(taps.high + at)));
            low = plus(low, times(pairs, load(taps.low + at)));
            window += 2 * taps.pixel_bytes;
            at += std::ptrdiff_t{2} * taps.padded;
        }
        store(i, plus({_mm512_slli_epi32(high.b, 8), _mm512_slli_epi32(high.g, 8), _mm512_slli_epi32(high.r, 8)}, low));
    }
}

__m256i fifteen_bits(__m512i sums) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(sums, 4)); }

// `taps` by value: through a reference, every store of a result would make the compiler read it anew.
template <int Windows>
void blend_row_of(const std::uint8_t* row, const Taps taps, std::int16_t* planes) {
    auto* blue_plane = reinterpret_cast<__m256i*>(planes);
    auto* green_plane = reinterpret_cast<__m256i*>(planes + taps.padded);
    auto* red_plane = reinterpret_cast<__m256i*>(planes + 2 * taps.padded);
    const std::ptrdiff_t groups = taps.padded / kGroup;
    for (std::ptrdiff_t i = 0; i < groups; ++i) {
        const __m512i blue = load(taps.pick + 64 * i);
        const __m512i green = _mm512_add_epi8(blue, _mm512_set1_epi8(1));
        const __m512i red = _mm512_add_epi8(blue, _mm512_set1_epi8(2));
        const Bgr pairs = gather<Windows>(row + taps.offset[kGroup * i], blue, green, red);
        const Bgr sums = times(pairs, load(taps.high + 32 * i));
        _mm256_storeu_si256(blue_plane + i, fifteen_bits(sums.b));
        _mm256_storeu_si256(green_plane + i, fifteen_bits(sums.g));
        _mm256_storeu_si256(red_plane + i, fifteen_bits(sums.r));
    }
}

void blend_row(const std::uint8_t* row, const Taps& taps, std::int16_t* planes) {
    if (taps.span <= 64) return blend_row_of<1>(row, taps, planes);
    if (taps.span <= kWindowBytes) return blend_row_of<2>(row, taps, planes);
    kAvx2Kernels.blend_row(row, taps, planes);
}

// Rounded and clipped to 0..255, as 32-bit numbers.
__m512i round_fixed(__m512i sum) {
    const __m512i value =
        _mm512_srai_epi32(_mm512_add_epi32(sum, _mm512_set1_epi32(1 << (kRoundedBits - 1))), kRoundedBits);
    return _mm512_max_epi32(value, _mm512_setzero_si512());
}

void rounded_row(const std::uint8_t* row, const Taps& taps, std::uint8_t* planes) {
    const auto store = [&](int i, const Bgr& sums) {
        auto* at = reinterpret_cast<__m128i*>(planes + i);
        const int stride = taps.padded / 16;
        _mm_storeu_si128(at, _mm512_cvtusepi32_epi8(round_fixed(sums.b)));
        _mm_storeu_si128(at + stride, _mm512_cvtusepi32_epi8(round_fixed(sums.g)));
        _mm_storeu_si128(at + 2 * stride, _mm512_cvtusepi32_epi8(round_fixed(sums.r)));
    };
    if (taps.span <= 64) return convolve<1>(row, taps, store);
    if (taps.span <= kWindowBytes) return convolve<2>(row, taps, store);
    kAvx2Kernels.rounded_row(row, taps, planes);
}

void mean_row(const std::uint8_t* row, const Taps& taps, float* planes) {
    const auto store = [&](int i, const Bgr& sums) {
        _mm512_storeu_ps(planes + i, _mm512_cvtepi32_ps(sums.b));
        _mm512_storeu_ps(planes + taps.padded + i, _mm512_cvtepi32_ps(sums.g));
        _mm512_storeu_ps(planes + 2 * taps.padded + i, _mm512_cvtepi32_ps(sums.r));
    };
    if (taps.span <= 64) return convolve<1>(row, taps, store);
    if (taps.span <= kWindowBytes) return convolve<2>(row, taps, store);
    kAvx2Kernels.mean_row(row, taps, planes);
}

struct Normal {
    __m512 mean;
    __m512 scale;

    explicit Normal(Affine affine) : mean(_mm512_set1_ps(affine.mean)), scale(_mm512_set1_ps(affine.scale)) {}

    void store(float* out, __m512i pixels) const {
        const __m512 value = _mm512_mul_ps(_mm512_sub_ps(_mm512_cvtepi32_ps(pixels), mean), scale);
        _mm512_storeu_ps(out, value);
    }
};

// Calls step(i, where) for every sixteen values. The last ones overlap those before them; fewer than sixteen go
// through a buffer, for `out` has no room to spare. Masked stores cost several times a whole one.
template <typename Step>
void by_sixteen(float* out, int count, Step step) {
    if (count < 16) {
        float buffer[16];
        step(0, buffer);
        std::memcpy(out, buffer, static_cast<std::size_t>(count) * sizeof(float));
        return;
    }
    for (int i = 0; i + 16 <= count; i += 16) step(i, out + i);
    if (count % 16 != 0) step(count - 16, out + count - 16);
}

void blend(const std::int16_t* const* rows, const std::int32_t* weights, Affine affine, float* out, int count) {
    const Normal normal(affine);
    const __m256i upper = _mm256_set1_epi16(static_cast<std::int16_t>(weights[0]));
    const __m256i lower = _mm256_set1_epi16(static_cast<std::int16_t>(weights[1]));
    const std::int16_t* upper_row = rows[0];
    const std::int16_t* lower_row = rows[1];
    by_sixteen(out, count, [&](int i, float* where) {
        const __m256i from_upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper_row + i));
        const __m256i from_lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lower_row + i));
        __m256i sum = _mm256_add_epi16(_mm256_mulhi_epi16(from_upper, upper), _mm256_mulhi_epi16(from_lower, lower));
        sum = _mm256_srai_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
        normal.store(where, _mm512_cvtepi16_epi32(sum));
    });
}

__m512i pair_at(const std::int16_t* weights) {
    std::int32_t pair;
    std::memcpy(&pair, weights, sizeof pair);
    return _mm512_set1_epi32(pair);
}

// Sixteen outputs, rounded and clipped, as 32-bit numbers.
__m512i convolve_columns(const std::uint8_t* const* rows, const ColumnTaps& taps, int i) {
    __m512i high = _mm512_setzero_si512();
    __m512i low = _mm512_setzero_si512();
    for (int p = 0; p < taps.pairs; ++p) {
        const __m512i upper = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[2 * p] + i)));
        const __m512i lower =
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[2 * p + 1] + i)));
        const __m512i pairs = _mm512_or_si512(upper, _mm512_slli_epi32(lower, 16));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(pairs, pair_at(taps.high + 2 * p)));
        low = _mm512_add_epi32(low, _mm512_madd_epi16(pairs, pair_at(taps.low + 2 * p)));
    }
    return round_fixed(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

void rounded(const std::uint8_t* const* rows, const ColumnTaps& taps, Affine affine, float* out, int count) {
    const Normal normal(affine);
    const __m512i most = _mm512_set1_epi32(255);
    by_sixteen(out, count, [&](int i, float* where) {
        normal.store(where, _mm512_min_epi32(convolve_columns(rows, taps, i), most));
    });
}

void rounded_bytes(const std::uint8_t* const* rows, const ColumnTaps& taps, std::uint8_t* out, int count) {
    for (int i = 0; i < count; i += 16) {
        const __m128i bytes = _mm512_cvtusepi32_epi8(convolve_columns(rows, taps, i));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), bytes);
    }
}

void mean(const float* const* rows, const float* weights, int taps, MeanStep step, Affine affine, float* out,
          int count) {
    const Normal normal(affine);
    const __m512 factor = _mm512_set1_ps(step.factor);
    const __m512 bias = _mm512_set1_ps(step.bias);
    by_sixteen(out, count, [&](int i, float* where) {
        __m512 sum = _mm512_setzero_ps();
        for (int k = 0; k < taps; ++k) {
            sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(rows[k] + i), _mm512_set1_ps(weights[k])));
        }
        __m512i pixels = _mm512_cvtps_epi32(_mm512_add_ps(_mm512_mul_ps(sum, factor), bias));
        pixels = _mm512_min_epi32(_mm512_max_epi32(pixels, _mm512_setzero_si512()), _mm512_set1_epi32(255));
        normal.store(where, pixels);
    });
}

void nv12_row(const std::uint8_t* y, const std::uint8_t* uv, int left, int width, std::uint8_t* bgrx) {
    kAvx2Kernels.nv12_row(y, uv, left, width, bgrx);
}

}  // namespace

const Kernels kAvx512Kernels = {"avx512", blend_row, rounded_row,   mean_row, blend,
                                rounded,  mean,      rounded_bytes, nv12_row};

}  // namespace dfe
