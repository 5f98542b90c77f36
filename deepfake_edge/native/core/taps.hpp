// Filters in the layout that the kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "filters.hpp"
#include "kernels.hpp"
#include "lines.hpp"

namespace dfe {

// A horizontal axis, laid out as the row kernels read it. Owns what its `view` points to.
struct PackedTaps {
    std::vector<std::int32_t> offset;
    LineVector<std::int16_t> high;
    LineVector<std::int16_t> low;
    LineVector<std::uint8_t> pick;
    Taps view{};
    std::size_t reach = 0;  // bytes from a row's start on that the kernels may touch
};

PackedTaps pack_taps(const Axis& axis, Method method, int pixel_bytes);

// A vertical axis in kRounded's layout.
struct PackedColumns {
    std::vector<std::int16_t> high;
    std::vector<std::int16_t> low;
    int pairs = 0;

    ColumnTaps at(int output) const {
        const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(output) * pairs * 2;
        return {high.data() + first, low.data() + first, pairs};
    }
};

PackedColumns pack_columns(const Axis& axis);

}  // namespace dfe
