// The inner loops, one set per instruction set, behind plain function pointers.
//
// The files that implement them are compiled with their own machine flags. They therefore share nothing but
// plain data with the rest: an inline function of a header, compiled there, could be the copy that the linker
// keeps for every CPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dfe {

struct Affine;

// Outputs that are worked on together. Rows of results are padded to it, and column kernels may read as many
// elements less one past a row's padding.
constexpr int kGroup = 16;

// The horizontal filter of a row, laid out for vectors.
struct Taps {
    int padded;                  // outputs, rounded up to kGroup; the surplus has no weight
    int pairs;                   // taps / 2, rounded up
    int pixel_bytes;             // 3 (BGR) or 4 (BGRX)
    int span;                    // bytes from a group's first pixel to the end of its last pair, at most
    const std::int32_t* offset;  // [padded] bytes from the row's start to the first tap
    const std::int16_t* high;    // [pairs][padded][2] weights: high * 256 + low, or high alone for kBlend
    const std::int16_t* low;     // [pairs][padded][2]
    const std::uint8_t* pick;    // [padded][4] offset of a pair's two pixels within the group: byte 0 and 2
};

// Reading a row touches at most this many bytes from a group's first tap of a pair on.
constexpr int kWindowBytes = 128;

// One output row's vertical filter, for kRounded. Goes with 2 * pairs row pointers.
struct ColumnTaps {
    const std::int16_t* high;  // [pairs][2] weights: high * 256 + low
    const std::int16_t* low;   // [pairs][2]
    int pairs;
};

// kMean's last step: rint(sum * factor + bias).
struct MeanStep {
    float factor;
    float bias;
};

struct Kernels {
    const char* name;
    // Rows: pixels in, three planes of `padded` elements out.
    void (*blend_row)(const std::uint8_t* row, const Taps& taps, std::int16_t* planes);
    void (*rounded_row)(const std::uint8_t* row, const Taps& taps, std::uint8_t* planes);
    void (*mean_row)(const std::uint8_t* row, const Taps& taps, float* planes);
    // Columns: `count` normalised values of one plane out.
    void (*blend)(const std::int16_t* const* rows, const std::int32_t* weights, Affine affine, float* out, int count);
    void (*rounded)(const std::uint8_t* const* rows, const ColumnTaps& taps, Affine affine, float* out, int count);
    void (*mean)(const float* const* rows, const float* weights, int taps, MeanStep step, Affine affine, float* out,
                 int count);
    // The same filter down `count` bytes of source rows, before the horizontal one; count is a multiple of kGroup.
    void (*rounded_bytes)(const std::uint8_t* const* rows, const ColumnTaps& taps, std::uint8_t* out, int count);
    // `width` pixels from column `left` on, as BGRX.
    void (*nv12_row)(const std::uint8_t* y, const std::uint8_t* uv, int left, int width, std::uint8_t* bgrx);
};

extern const Kernels kGenericKernels;
#if defined(DFE_X86)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif
#if defined(DFE_NEON)
extern const Kernels kNeonKernels;
#endif

// The sets that this CPU can run, the best first; ends with the generic one. Returns how many.
constexpr int kMaxKernels = 3;
int available_kernels(const Kernels** sets);

}  // namespace dfe
