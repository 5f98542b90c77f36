// Where a crop lies: from a box in pixels to whole pixels of the frame.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace dfe {

// Beyond this a "face" is a mistake, and fixed-point weights would lose their meaning.
constexpr int kMaxSidePx = 32768;

enum class Fit : std::uint8_t { kStretch, kSquare };

enum class Placement : std::uint8_t { kInside, kNotFinite, kEmpty, kOutside, kTooLarge };

// Half open, whole pixels of the frame; a square may leave it.
struct Rect {
    int left;
    int top;
    int right;
    int bottom;

    int width() const { return right - left; }
    int height() const { return bottom - top; }
};

namespace detail {

struct Span {
    double low;
    double high;
};

inline double whole(double value) { return std::floor(value + 0.5); }

inline Span grow(double low, double high, double margin) {
    const double centre = (low + high) / 2.0;
    const double reach = (high - low) * margin / 2.0;
    return {centre - reach, centre + reach};
}

// A span that rounds to nothing is the one pixel that holds its centre.
inline Span stretch_span(Span span, int limit) {
    double low = whole(span.low);
    double high = whole(span.high);
    if (high <= low) {
        low = std::floor((span.low + span.high) / 2.0);
        high = low + 1.0;
    }
    return {std::max(low, 0.0), std::min(high, static_cast<double>(limit))};
}

inline Span square_span(double low, double high, double side) {
    const double begin = whole((low + high) / 2.0 - side / 2.0);
    return {begin, begin + side};
}

}  // namespace detail

// The pixels that a box means in a frame of width x height.
//
// The box (left, top, right, bottom) is scaled by `margin` around its centre. `kStretch` rounds its sides to
// whole pixels, floor(v + 0.5), and cuts them at the frame; `kSquare` takes the square around the centre whose
// side is the longer one, rounded likewise and at least 1, and leaves it uncut.
inline Placement place(const float* box, double margin, Fit fit, int width, int height, Rect* rect) {
    for (int i = 0; i < 4; ++i) {
        if (!std::isfinite(box[i])) return Placement::kNotFinite;
    }
    if (!(box[2] > box[0] && box[3] > box[1])) return Placement::kEmpty;
    detail::Span x{};
    detail::Span y{};
    const double left = box[0];
    const double top = box[1];
    const double right = box[2];
    const double bottom = box[3];
    if (fit == Fit::kStretch) {
        x = detail::stretch_span(detail::grow(left, right, margin), width);
        y = detail::stretch_span(detail::grow(top, bottom, margin), height);
        if (x.low >= x.high || y.low >= y.high) return Placement::kOutside;
    } else {
        const double side = std::max(1.0, detail::whole(std::max(right - left, bottom - top) * margin));
        if (side > kMaxSidePx) return Placement::kTooLarge;
        x = detail::square_span(left, right, side);
        y = detail::square_span(top, bottom, side);
        if (x.low >= width || x.high <= 0.0 || y.low >= height || y.high <= 0.0) return Placement::kOutside;
    }
    *rect = {static_cast<int>(x.low), static_cast<int>(y.low), static_cast<int>(x.high), static_cast<int>(y.high)};
    return Placement::kInside;
}

}  // namespace dfe
