// AVX2: eight outputs at a time, each pair of taps fetched with one load of eight bytes.
#include <immintrin.h>

#include <cstring>

#include "kernels.hpp"
#include "pixel.hpp"

namespace dfe {
namespace {

struct Bgr {
    __m256i b;
    __m256i g;
    __m256i r;
};

__m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }

__m128i two(const std::uint8_t* row, const std::int32_t* offset) {
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + offset[0]));
    const auto* high = reinterpret_cast<const double*>(row + offset[1]);
    return _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(low), high));
}

// How two outputs' bytes become 16-bit pairs: b b g g in `first`, r r in `second`.
struct Spread {
    __m256i first;
    __m256i second;

    explicit Spread(int pixel_bytes) {
        const char n = -1;
        const char p = static_cast<char>(pixel_bytes);
        const auto c = [p](int byte) { return static_cast<char>(p + byte); };
        first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, n, c(0), n, 8, n, c(8), n, 1, n, c(1), n, 9, n, c(9), n));
        second = _mm256_broadcastsi128_si256(_mm_setr_epi8(2, n, c(2), n, 10, n, c(10), n, n, n, n, n, n, n, n, n));
    }
};

// Eight outputs' pairs of pixels, one 16-bit pair a channel.
Bgr gather(const std::uint8_t* row, const std::int32_t* offset, const Spread& spread) {
    const __m256i even = _mm256_inserti128_si256(_mm256_castsi128_si256(two(row, offset)), two(row, offset + 4), 1);
    const __m256i odd = _mm256_inserti128_si256(_mm256_castsi128_si256(two(row, offset + 2)), two(row, offset + 6), 1);
    const __m256i even_bg = _mm256_shuffle_epi8(even, spread.first);
    const __m256i odd_bg = _mm256_shuffle_epi8(odd, spread.first);
    const __m256i even_r = _mm256_shuffle_epi8(even, spread.second);
    const __m256i odd_r = _mm256_shuffle_epi8(odd, spread.second);
    return {_mm256_unpacklo_epi64(even_bg, odd_bg), _mm256_unpackhi_epi64(even_bg, odd_bg),
            _mm256_unpacklo_epi64(even_r, odd_r)};
}

Bgr times(const Bgr& pairs, __m256i weights) {
    return {_mm256_madd_epi16(pairs.b, weights), _mm256_madd_epi16(pairs.g, weights),
            _mm256_madd_epi16(pairs.r, weights)};
}

Bgr plus(const Bgr& x, const Bgr& y) {
    return {_mm256_add_epi32(x.b, y.b), _mm256_add_epi32(x.g, y.g), _mm256_add_epi32(x.r, y.r)};
}

// The exact sums of eight outputs; the halves may wrap, the whole does not.
Bgr convolve(const std::uint8_t* row, const Taps& taps, int i, const Spread& spread) {
    const __m256i zero = _mm256_setzero_si256();
    Bgr high{zero, zero, zero};
    Bgr low{zero, zero, zero};
    std::ptrdiff_t at = std::ptrdiff_t{2} * i;
    for (int p = 0; p < taps.pairs; ++p) {
        const Bgr pairs = gather(row, taps.offset + i, spread);
        high = plus(high, times(pairs, load(taps.high + at)));
        low = plus(low, times(pairs, load(taps.low + at)));
        row += 2 * taps.pixel_bytes;
        at += std::ptrdiff_t{2} * taps.padded;
    }
    return plus({_mm256_slli_epi32(high.b, 8), _mm256_slli_epi32(high.g, 8), _mm256_slli_epi32(high.r, 8)}, low);
}

__m256i pack_words(__m256i first, __m256i second) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xD8);
}

void blend_row(const std::uint8_t* row, const Taps& taps, std::int16_t* planes) {
    const Spread spread(taps.pixel_bytes);
    const auto store = [&](int channel, int i, __m256i first, __m256i second) {
        const __m256i words = pack_words(_mm256_srai_epi32(first, 4), _mm256_srai_epi32(second, 4));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(planes + channel * taps.padded + i), words);
    };
    for (int i = 0; i < taps.padded; i += 16) {
        const Bgr x = times(gather(row, taps.offset + i, spread), load(taps.high + 2 * i));
        const Bgr y = times(gather(row, taps.offset + i + 8, spread), load(taps.high + 2 * i + 16));
        store(0, i, x.b, y.b);
        store(1, i, x.g, y.g);
        store(2, i, x.r, y.r);
    }
}

__m256i round_fixed(__m256i sum) {
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kRoundedBits - 1))), kRoundedBits);
}

// Sixteen sums as bytes, clipped.
__m128i pack_bytes(__m256i first, __m256i second) {
    const __m256i words = pack_words(round_fixed(first), round_fixed(second));
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

void rounded_row(const std::uint8_t* row, const Taps& taps, std::uint8_t* planes) {
    const Spread spread(taps.pixel_bytes);
    const auto store = [&](int channel, int i, __m256i first, __m256i second) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(planes + channel * taps.padded + i), pack_bytes(first, second));
    };
    for (int i = 0; i < taps.padded; i += 16) {
        const Bgr x = convolve(row, taps, i, spread);
        const Bgr y = convolve(row, taps, i + 8, spread);
        store(0, i, x.b, y.b);
        store(1, i, x.g, y.g);
        store(2, i, x.r, y.r);
    }
}

void mean_row(const std::uint8_t* row, const Taps& taps, float* planes) {
    const Spread spread(taps.pixel_bytes);
    for (int i = 0; i < taps.padded; i += 8) {
        const Bgr sums = convolve(row, taps, i, spread);
        _mm256_storeu_ps(planes + i, _mm256_cvtepi32_ps(sums.b));
        _mm256_storeu_ps(planes + taps.padded + i, _mm256_cvtepi32_ps(sums.g));
        _mm256_storeu_ps(planes + 2 * taps.padded + i, _mm256_cvtepi32_ps(sums.r));
    }
}

struct Normal {
    __m256 mean;
    __m256 scale;

    explicit Normal(Affine affine) : mean(_mm256_set1_ps(affine.mean)), scale(_mm256_set1_ps(affine.scale)) {}

    void store(float* out, __m256i pixels) const {
        _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(pixels), mean), scale));
    }
};

// Calls step(i, where) for every sixteen values. The last ones overlap those before them; fewer than sixteen go
// through a buffer, for `out` has no room to spare.
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
    by_sixteen(out, count, [&](int i, float* where) {
        __m256i sum = _mm256_add_epi16(_mm256_mulhi_epi16(load(rows[0] + i), upper),
                                       _mm256_mulhi_epi16(load(rows[1] + i), lower));
        sum = _mm256_srai_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
        normal.store(where, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(sum)));
        normal.store(where + 8, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sum, 1)));
    });
}

struct Sixteen {
    __m256i first;
    __m256i second;
};

__m256i pair_at(const std::int16_t* weights) {
    std::int32_t pair;
    std::memcpy(&pair, weights, sizeof pair);
    return _mm256_set1_epi32(pair);
}

Sixteen convolve_columns(const std::uint8_t* const* rows, const ColumnTaps& taps, int i) {
    const __m256i zero = _mm256_setzero_si256();
    Sixteen high{zero, zero};
    Sixteen low{zero, zero};
    for (int p = 0; p < taps.pairs; ++p) {
        const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[2 * p] + i));
        const __m128i lower = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[2 * p + 1] + i));
        const __m256i first = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(upper, lower));
        const __m256i second = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(upper, lower));
        const __m256i high_weights = pair_at(taps.high + 2 * p);
        const __m256i low_weights = pair_at(taps.low + 2 * p);
        high.first = _mm256_add_epi32(high.first, _mm256_madd_epi16(first, high_weights));
        high.second = _mm256_add_epi32(high.second, _mm256_madd_epi16(second, high_weights));
        low.first = _mm256_add_epi32(low.first, _mm256_madd_epi16(first, low_weights));
        low.second = _mm256_add_epi32(low.second, _mm256_madd_epi16(second, low_weights));
    }
    return {_mm256_add_epi32(_mm256_slli_epi32(high.first, 8), low.first),
            _mm256_add_epi32(_mm256_slli_epi32(high.second, 8), low.second)};
}

void rounded(const std::uint8_t* const* rows, const ColumnTaps& taps, Affine affine, float* out, int count) {
    const Normal normal(affine);
    by_sixteen(out, count, [&](int i, float* where) {
        const Sixteen sums = convolve_columns(rows, taps, i);
        const __m128i bytes = pack_bytes(sums.first, sums.second);
        normal.store(where, _mm256_cvtepu8_epi32(bytes));
        normal.store(where + 8, _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
    });
}

void rounded_bytes(const std::uint8_t* const* rows, const ColumnTaps& taps, std::uint8_t* out, int count) {
    for (int i = 0; i < count; i += 16) {
        const Sixteen sums = convolve_columns(rows, taps, i);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), pack_bytes(sums.first, sums.second));
    }
}

void mean(const float* const* rows, const float* weights, int taps, MeanStep step, Affine affine, float* out,
          int count) {
    const Normal normal(affine);
    const __m256 factor = _mm256_set1_ps(step.factor);
    const __m256 bias = _mm256_set1_ps(step.bias);
    const auto finish = [&](__m256 sum) {
        const __m256i pixels = _mm256_cvtps_epi32(_mm256_add_ps(_mm256_mul_ps(sum, factor), bias));
        return _mm256_min_epi32(_mm256_max_epi32(pixels, _mm256_setzero_si256()), _mm256_set1_epi32(255));
    };
    by_sixteen(out, count, [&](int i, float* where) {
        __m256 first = _mm256_setzero_ps();
        __m256 second = _mm256_setzero_ps();
        for (int k = 0; k < taps; ++k) {
            const __m256 weight = _mm256_set1_ps(weights[k]);
            first = _mm256_add_ps(first, _mm256_mul_ps(_mm256_loadu_ps(rows[k] + i), weight));
            second = _mm256_add_ps(second, _mm256_mul_ps(_mm256_loadu_ps(rows[k] + i + 8), weight));
        }
        normal.store(where, finish(first));
        normal.store(where + 8, finish(second));
    });
}

// A 20-bit constant times a 16-bit number, as the two 16-bit products that make it up.
__m256i times_chroma(__m256i uv, std::int32_t u, std::int32_t v) {
    const auto both = [](std::int32_t a, std::int32_t b) {
        return _mm256_set1_epi32((a & 0xFFFF) | static_cast<std::int32_t>(static_cast<std::uint32_t>(b) << 16));
    };
    const __m256i high = _mm256_madd_epi16(uv, both(u >> 8, v >> 8));
    const __m256i low = _mm256_madd_epi16(uv, both(u & 255, v & 255));
    return _mm256_add_epi32(_mm256_slli_epi32(high, 8), low);
}

// Eight pixels, from their luma terms and the four chroma terms that `twice` spreads over them.
__m256i bgrx_of(__m256i luma, const Bgr& chroma, __m256i twice) {
    const auto channel = [&](__m256i term) {
        return _mm256_srai_epi32(_mm256_add_epi32(luma, _mm256_permutevar8x32_epi32(term, twice)), kYuvShift);
    };
    const __m256i bg = _mm256_packs_epi32(channel(chroma.b), channel(chroma.g));
    const __m256i rx = _mm256_packs_epi32(channel(chroma.r), _mm256_setzero_si256());
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm256_shuffle_epi8(_mm256_packus_epi16(bg, rx), order);
}

void nv12_row(const std::uint8_t* y, const std::uint8_t* uv, int left, int width, std::uint8_t* bgrx) {
    const int right = left + width;
    int x = left;
    const auto one = [&] {
        nv12_pixel(y[x], uv[x & ~1], uv[x | 1], bgrx);
        bgrx += 4;
        ++x;
    };
    if (x % 2 != 0) one();
    for (; x + 16 <= right; x += 16, bgrx += 64) {
        const __m256i pairs = _mm256_sub_epi16(
            _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(uv + x))), _mm256_set1_epi16(128));
        const Bgr chroma{times_chroma(pairs, kYuvBlueU, 0), times_chroma(pairs, kYuvGreenU, kYuvGreenV),
                         times_chroma(pairs, 0, kYuvRedV)};
        const __m128i bytes =
            _mm_subs_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(y + x)), _mm_set1_epi8(16));
        const auto luma = [](__m128i eight) {
            return _mm256_add_epi32(_mm256_mullo_epi32(_mm256_cvtepu8_epi32(eight), _mm256_set1_epi32(kYuvLuma)),
                                    _mm256_set1_epi32(kYuvHalf));
        };
        const __m256i first = bgrx_of(luma(bytes), chroma, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
        const __m256i second =
            bgrx_of(luma(_mm_srli_si128(bytes, 8)), chroma, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bgrx), first);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bgrx + 32), second);
    }
    while (x < right) one();
}

}  // namespace

const Kernels kAvx2Kernels = {"avx2", blend_row, rounded_row, mean_row, blend, rounded, mean, rounded_bytes, nv12_row};

}  // namespace dfe
