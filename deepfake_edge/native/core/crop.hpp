// One pass from a frame to a network's input.
#pragma once

#include <cstddef>
#include <cstdint>

#include "filters.hpp"
#include "geometry.hpp"
#include "kernels.hpp"
#include "pixel.hpp"

namespace dfe {

enum class Layout : std::uint8_t { kBgr, kRgb, kNv12 };

// Borrowed pixels. `pixels` is the picture, or NV12's luma with `chroma` beside it; rows are `row_bytes` apart,
// at least as many as a row holds. NV12 has even sides.
struct Image {
    Layout layout;
    int width;
    int height;
    const std::uint8_t* pixels;
    std::ptrdiff_t row_bytes;
    const std::uint8_t* chroma;
    std::ptrdiff_t chroma_row_bytes;
};

struct Options {
    int size;
    double margin;
    Fit fit;
    Resize resize;
    bool rgb_planes;   // else B, G, R
    Affine affine[3];  // per plane, in the planes' order
};

// Writes one crop, (3, size, size) floats. `rect` must come from `place`. Throws std::bad_alloc, nothing else.
void crop_face(const Image& image, const Options& options, const Kernels& kernels, const Rect& rect, float* out);

// Writes `count` crops, (count, 3, size, size) floats, with up to `threads` threads, a crop to each in turn; the
// bytes do not depend on how many. Throws std::bad_alloc, nothing else.
void crop_faces(const Image& image, const Options& options, const Kernels& kernels, const Rect* rects,
                std::size_t count, int threads, float* out);

}  // namespace dfe
