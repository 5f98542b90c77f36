// Arrays as they come from Python: taken as they are or refused by name, never converted.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <string>
#include <vector>

#include "../core/crop.hpp"

namespace dfe::python {

// A picture, or NV12's two planes in a tuple, as (H, W, 3) or ((H, W), (H/2, W/2, 2)) of uint8.
Image read_image(const pybind11::object& pixels, const std::string& layout);

// A frame that lies in a GPU's memory: its format and sides, without pixels.
Image describe_image(pybind11::ssize_t width, pybind11::ssize_t height, const std::string& layout);

// float32 (N, 4), C-contiguous.
struct Boxes {
    const float* data;
    std::size_t count;
};
Boxes read_boxes(const pybind11::object& boxes);

// float32 (count, 3, size, size), C-contiguous, writeable, apart from everything that is read.
float* writeable_out(const pybind11::object& out, std::size_t count, int size, const Image& image, const Boxes& boxes);

// Where each box lies in the image; a box that cannot be cut is refused by its index.
std::vector<Rect> place_all(const Boxes& boxes, const Options& options, const Image& image);

}  // namespace dfe::python
