// What a GPU must know of a frame's crops: one block of memory, made by the host and read by the kernel.
//
// A Plan, then a FacePlan for each face, then the axes' taps.
#pragma once

#include <cstdint>

#include "../core/pixel.hpp"

namespace dfe {

// How many outputs, one below the other, a thread makes: what is the same for all of them is read once.
constexpr int kRowsPerThread = 4;

// A column or row of the frame, always one inside it, and what it weighs: nothing where it stands for one outside.
struct alignas(8) Tap {
    std::int32_t at;
    std::int32_t weight;  // fixed point, see Method; the bits of a float for kMean's rows
};

// One axis of a crop's filter. An output's taps lie a table's row apart, so that neighbouring threads read neighbours.
struct AxisPlan {
    std::int32_t taps;
    std::int32_t table;  // Taps from the plan's start to the table [taps][size]
};

struct alignas(16) FacePlan {
    Method method;
    bool vertical_first;
    AxisPlan horizontal;
    AxisPlan vertical;
    float mean_factor;
    float mean_bias;
};

struct alignas(16) Plan {
    std::int32_t size;                // of a crop
    std::int32_t last_channel_first;  // 1: the first plane takes a pixel's third channel
    Affine affine[3];
};

static_assert(sizeof(Tap) == 8 && sizeof(FacePlan) == 32 && sizeof(Plan) == 32, "the same on host and device");

}  // namespace dfe
