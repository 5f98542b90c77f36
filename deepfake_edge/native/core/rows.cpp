#include "rows.hpp"

#include <algorithm>
#include <cstring>

namespace dfe {

SourceRows::SourceRows(const Image& image, const Kernels& kernels, const Rect& rect, std::size_t reach)
    : image_(image),
      kernels_(kernels),
      rect_(rect),
      left_(std::max(rect.left, 0)),
      right_(std::min(rect.right, image.width)),
      reach_(reach),
      end_(image.pixels + (image.height - 1) * image.row_bytes + std::ptrdiff_t{3} * image.width) {
    const std::size_t pixels = static_cast<std::size_t>(rect.width());
    copy_.assign(std::max(reach, pixels * static_cast<std::size_t>(pixel_bytes(image.layout))), 0);
}

const std::uint8_t* SourceRows::row(int row) {
    const int y = rect_.top + row;
    if (y < 0 || y >= image_.height) return nullptr;
    const std::ptrdiff_t inside = left_ - rect_.left;
    const int columns = right_ - left_;
    const std::uint8_t* line = image_.pixels + y * image_.row_bytes;
    if (image_.layout == Layout::kNv12) {
        const std::uint8_t* chroma = image_.chroma + (y / 2) * image_.chroma_row_bytes;
        kernels_.nv12_row(line, chroma, left_, columns, copy_.data() + inside * 4);
        return copy_.data();
    }
    const std::uint8_t* pixels = line + std::ptrdiff_t{3} * left_;
    const bool whole = columns == rect_.width();
    if (whole && end_ - pixels >= static_cast<std::ptrdiff_t>(reach_)) return pixels;
    std::memcpy(copy_.data() + inside * 3, pixels, static_cast<std::size_t>(columns) * 3);
    return copy_.data();
}

}  // namespace dfe
