// What a GPU must know of a frame's crops: one block of 32-bit words, made by the host and read by the kernel.
//
// A Plan, then a FacePlan for each face, then the axes' tables.
#pragma once

#include <cstdint>

#include "../core/pixel.hpp"

namespace dfe {

// How many outputs, one below the other, a thread makes: what is the same for all of them is read once.
constexpr int kRowsPerThread = 4;

// One axis of a crop's filter; see Axis. An output's taps lie a table's row apart, so that neighbouring threads read
// neighbouring words.
struct AxisPlan {
    std::int32_t taps;
    std::int32_t first;    // words from the plan's start to first[size]
    std::int32_t weights;  // and to weights[taps][size]: floats for kMean's rows, fixed point for all else
};

struct alignas(16) FacePlan {
    std::int32_t left;  // of the crop in the frame, which it may leave
    std::int32_t top;
    std::int32_t height;
    Method method;
    bool vertical_first;
    AxisPlan horizontal;
    AxisPlan vertical;
    float mean_factor;
    float mean_bias;
};

struct alignas(16) Plan {
    std::int32_t width;  // of the frame
    std::int32_t height;
    std::int32_t size;  // of a crop
    std::int32_t last_channel_first;  // 1: the first plane takes a pixel's third channel
    Affine affine[3];
};

static_assert(sizeof(FacePlan) == 48 && sizeof(Plan) == 48, "the same on the host and on the device");

}  // namespace dfe
