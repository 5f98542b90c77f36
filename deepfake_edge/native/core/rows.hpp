// The source rows of a crop, as pixels that a row kernel may read.
#pragma once

#include <cstdint>
#include <vector>

#include "crop.hpp"

namespace dfe {

class SourceRows {
 public:
    // `reach`: how many bytes from a row's start on the kernels may touch.
    SourceRows(const Image& image, const Kernels& kernels, const Rect& rect, std::size_t reach);

    // Row `row` of the crop, or nullptr where it lies outside the frame. Valid until the next call.
    const std::uint8_t* row(int row);

    static int pixel_bytes(Layout layout) { return layout == Layout::kNv12 ? 4 : 3; }

 private:
    const Image& image_;
    const Kernels& kernels_;
    Rect rect_;
    int left_;   // first column inside the frame
    int right_;  // end of the columns inside
    std::size_t reach_;
    const std::uint8_t* end_;  // one past the last pixel of the frame
    std::vector<std::uint8_t> copy_;
};

}  // namespace dfe
