#include "filters.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>

namespace dfe {
namespace {

// OpenCV derives the scale in these two steps; one division differs in the last bit and moves taps.
double opencv_scale(int input, int size) { return 1.0 / (static_cast<double>(size) / input); }

std::size_t at(int output, int taps) { return static_cast<std::size_t>(output) * static_cast<std::size_t>(taps); }

// std::floor is a call where the baseline has no instruction for it, and plans are made for every face.
int floor_of(double value) {
    const int cut = static_cast<int>(value);
    return cut - (value < cut ? 1 : 0);
}

Axis empty_axis(int size, int taps) {
    Axis axis;
    axis.taps = taps;
    axis.first.assign(static_cast<std::size_t>(size), 0);
    axis.weights.assign(at(size, taps), 0);
    return axis;
}

struct Position {
    int first;
    float fraction;
};

Position centre_aligned(int output, double scale) {
    const float exact = static_cast<float>((output + 0.5) * scale - 0.5);
    const int first = floor_of(exact);
    return {first, exact - static_cast<float>(first)};
}

// What OpenCV does for INTER_AREA when an axis grows.
Position cell_aligned(int output, double scale, double inverse) {
    const int first = floor_of(output * scale);
    const float exact = static_cast<float>((output + 1) - (first + 1) * inverse);
    return {first, exact <= 0.0F ? 0.0F : exact - static_cast<float>(floor_of(exact))};
}

// OpenCV stops the interpolation at the first and last column, but repeats the first and last row.
Axis blend_axis(int input, int size, bool cells, bool columns) {
    Axis axis = empty_axis(size, 2);
    const double scale = opencv_scale(input, size);
    const double inverse = static_cast<double>(size) / input;
    constexpr float kOne = 1 << kBlendBits;
    for (int i = 0; i < size; ++i) {
        Position position = cells ? cell_aligned(i, scale, inverse) : centre_aligned(i, scale);
        if (columns && position.first < 0) position = {0, 0.0F};
        if (columns && position.first >= input - 1) position = {input - 1, 0.0F};
        axis.first[static_cast<std::size_t>(i)] = position.first;
        axis.weights[at(i, 2)] = static_cast<std::int32_t>(std::lrintf((1.0F - position.fraction) * kOne));
        axis.weights[at(i, 2) + 1] = static_cast<std::int32_t>(std::lrintf(position.fraction * kOne));
    }
    return axis;
}

double triangle(double x) { return std::max(0.0, 1.0 - std::fabs(x)); }

// Keys' cubic with a = -0.5, as in Pillow.
double cubic(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

// Which inputs Pillow gives to an output; the filter widens when the axis shrinks.
struct Reach {
    double scale;
    double support;
    int input;

    double centre(int output) const { return (output + 0.5) * scale; }
    int first(int output) const { return std::max(static_cast<int>(centre(output) - support + 0.5), 0); }
    int count(int output) const {
        return std::min(static_cast<int>(centre(output) + support + 0.5), input) - first(output);
    }
};

// Pillow's precompute_coeffs and normalize_coeffs_8bpc.
Axis rounded_axis(int input, int size, double (*kernel)(double), double radius) {
    const double scale = static_cast<double>(input) / size;
    const double narrowing = 1.0 / std::max(scale, 1.0);
    const Reach reach{scale, radius * std::max(scale, 1.0), input};
    int taps = 0;
    for (int i = 0; i < size; ++i) taps = std::max(taps, reach.count(i));
    Axis axis = empty_axis(size, taps);
    std::vector<double> row(static_cast<std::size_t>(taps));
    for (int i = 0; i < size; ++i) {
        const int first = reach.first(i);
        const std::size_t count = static_cast<std::size_t>(reach.count(i));
        double sum = 0.0;
        for (std::size_t k = 0; k < count; ++k) {
            row[k] = kernel((static_cast<int>(k) + first - reach.centre(i) + 0.5) * narrowing);
            sum += row[k];
        }
        axis.first[static_cast<std::size_t>(i)] = first;
        for (std::size_t k = 0; k < count; ++k) {
            const double weight = row[k] / sum * (1 << kRoundedBits);
            axis.weights[at(i, taps) + k] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
    }
    return axis;
}

struct Cell {
    int first;
    int count;
    float weights[3];  // of the first, any inner and the last input
};

// One output of OpenCV's computeResizeAreaTab. Weights are relative to a wholly covered input, not to the sum,
// so that the inner ones are exactly 1 and only the two ends are ever rounded.
Cell area_cell(int output, int input, double scale) {
    const double begin = output * scale;
    const double end = begin + scale;
    const double cell = std::min(scale, input - begin);
    const int inner_end = std::min(floor_of(end), input - 1);
    const int inner_begin = std::min(static_cast<int>(std::ceil(begin)), inner_end);
    const bool head = inner_begin - begin > 1e-3;
    const bool tail = end - inner_end > 1e-3;
    Cell result{};
    result.first = head ? inner_begin - 1 : inner_begin;
    result.count = inner_end - inner_begin + (head ? 1 : 0) + (tail ? 1 : 0);
    const float inner = static_cast<float>(scale / cell);
    result.weights[0] = head ? static_cast<float>((inner_begin - begin) * (scale / cell)) : inner;
    result.weights[1] = inner;
    const double rest = std::min(std::min(end - inner_end, 1.0), cell);
    result.weights[2] = tail ? static_cast<float>(rest * (scale / cell)) : inner;
    if (result.count == 1 && !head) result.weights[0] = result.weights[2];
    return result;
}

Axis mean_axis(int input, int size, int bits) {
    const double scale = opencv_scale(input, size);
    Axis axis = empty_axis(size, std::min(floor_of(scale) + 2, input));
    axis.means.assign(axis.weights.size(), 0.0F);
    for (int i = 0; i < size; ++i) {
        const Cell cell = area_cell(i, input, scale);
        axis.first[static_cast<std::size_t>(i)] = cell.first;
        for (int k = 0; k < cell.count; ++k) {
            const float weight = cell.weights[k == 0 ? 0 : k + 1 == cell.count ? 2 : 1];
            const std::size_t place = at(i, axis.taps) + static_cast<std::size_t>(k);
            axis.means[place] = weight;
            axis.weights[place] = static_cast<std::int32_t>(std::lrint(std::ldexp(weight, bits)));
        }
    }
    return axis;
}

// The most bits with which 255 * scale * 2^bits stays within 31.
int mean_bits(double scale) { return std::min(floor_of(22.9 - std::log2(scale)), 22); }

bool is_whole(double scale) { return std::fabs(scale - std::round(scale)) < DBL_EPSILON; }

Filter mean_filter(int width, int height, int size, bool halves) {
    const double scale_x = opencv_scale(width, size);
    const double scale_y = opencv_scale(height, size);
    const int bits = mean_bits(scale_x);
    Filter filter;
    filter.method = Method::kMean;
    filter.horizontal = mean_axis(width, size, bits);
    filter.vertical = mean_axis(height, size, 0);
    filter.mean_factor = std::ldexp(static_cast<float>(1.0 / (scale_x * scale_y)), -bits);
    // OpenCV's 2 x 2 shortcut rounds halves up, everything else of its rounds them to even.
    filter.mean_bias = halves ? 0.125F : 0.0F;
    return filter;
}

}  // namespace

Filter make_filter(Resize resize, int width, int height, int size) {
    const double scale_x = opencv_scale(width, size);
    const double scale_y = opencv_scale(height, size);
    const bool whole = is_whole(scale_x) && is_whole(scale_y);
    const bool halves = whole && std::round(scale_x) == 2.0 && std::round(scale_y) == 2.0;
    Filter filter;
    if (resize == Resize::kBilinear || resize == Resize::kBicubic) {
        const bool bicubic = resize == Resize::kBicubic;
        filter.method = Method::kRounded;
        // Pillow 13's rule (older ones always went horizontally first); the bytes between the passes are clipped,
        // so the order shows in the result.
        filter.vertical_first = height > size && height - size > 2 * (width - size);
        filter.horizontal = rounded_axis(width, size, bicubic ? cubic : triangle, bicubic ? 2.0 : 1.0);
        filter.vertical = rounded_axis(height, size, bicubic ? cubic : triangle, bicubic ? 2.0 : 1.0);
        return filter;
    }
    const bool area = resize == Resize::kArea;
    // OpenCV takes the area mean for an exact halving even when bilinear was asked for.
    if (halves || (area && scale_x >= 1.0 && scale_y >= 1.0)) return mean_filter(width, height, size, halves);
    filter.method = Method::kBlend;
    filter.horizontal = blend_axis(width, size, area, true);
    filter.vertical = blend_axis(height, size, area, false);
    return filter;
}

}  // namespace dfe
