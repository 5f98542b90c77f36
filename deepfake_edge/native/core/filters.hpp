// Filter taps along one axis, as OpenCV and Pillow define them.
#pragma once

#include <cstdint>
#include <vector>

#include "pixel.hpp"

namespace dfe {

enum class Resize : std::uint8_t { kLinear, kArea, kBilinear, kBicubic };

// Output i is the sum over k of weights[i * taps + k] * input[first[i] + k]. Inputs outside the axis carry no
// weight horizontally and stand for the nearest one inside vertically.
struct Axis {
    int taps = 0;
    std::vector<std::int32_t> first;
    std::vector<std::int32_t> weights;  // fixed point, see Method
    std::vector<float> means;           // kMean only, vertical: the same in floats
};

// How a crop of width x height becomes size x size.
struct Filter {
    Method method = Method::kBlend;
    Axis horizontal;
    Axis vertical;
    bool vertical_first = false;  // kRounded only
    float mean_factor = 1.0F;     // kMean: what a sum is multiplied with
    float mean_bias = 0.0F;       // kMean: added before rounding half to even
};

Filter make_filter(Resize resize, int width, int height, int size);

}  // namespace dfe
