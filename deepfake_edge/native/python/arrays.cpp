#include "arrays.hpp"

#include <cstdint>

namespace py = pybind11;

namespace dfe::python {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& wanted, const std::string& got) {
    throw py::value_error(name + ": wanted " + wanted + ", got " + got);
}

std::string shape_of(const py::array& array) { return py::str(array.attr("shape")).cast<std::string>(); }

template <typename Element>
py::array typed_array(const py::object& object, const std::string& name, const std::string& type) {
    if (!py::isinstance<py::array>(object)) {
        refuse(name, "a numpy array of " + type, py::str(py::type::of(object).attr("__name__")).cast<std::string>());
    }
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (!py::dtype::of<Element>().equal(array.dtype())) {
        refuse(name, type, py::str(array.dtype()).cast<std::string>());
    }
    return array;
}

void check_sides(const std::string& name, py::ssize_t height, py::ssize_t width) {
    if (height < 1 || width < 1 || height > kMaxSidePx || width > kMaxSidePx) {
        refuse(name, "1 to " + std::to_string(kMaxSidePx) + " pixels a side",
               std::to_string(width) + " x " + std::to_string(height));
    }
}

Layout layout_named(const std::string& name) {
    if (name == "BGR") return Layout::kBgr;
    if (name == "RGB") return Layout::kRgb;
    if (name == "NV12") return Layout::kNv12;
    refuse("image format", "BGR, RGB or NV12", name);
}

struct Plane {
    const std::uint8_t* data;
    py::ssize_t height;
    py::ssize_t width;
    std::ptrdiff_t row_bytes;
};

// A uint8 plane of `channels` a pixel (1: two dimensions) whose rows may be padded.
Plane read_plane(const py::object& object, const std::string& name, py::ssize_t channels) {
    const py::array array = typed_array<std::uint8_t>(object, name, "uint8");
    const py::ssize_t dimensions = channels == 1 ? 2 : 3;
    if (array.ndim() != dimensions || (channels > 1 && array.shape(2) != channels)) {
        const std::string tail = channels == 1 ? ")" : ", " + std::to_string(channels) + ")";
        refuse(name, "shape (height, width" + tail, shape_of(array));
    }
    const py::ssize_t height = array.shape(0);
    const py::ssize_t width = array.shape(1);
    check_sides(name, height, width);
    const bool row_is_dense = (width == 1 || array.strides(1) == channels) && (channels == 1 || array.strides(2) == 1);
    if (!row_is_dense)
        refuse(name, "contiguous pixels within a row", "strides " + py::str(array.attr("strides")).cast<std::string>());
    const std::ptrdiff_t row_bytes = height == 1 ? width * channels : array.strides(0);
    if (row_bytes < width * channels) {
        refuse(name, "rows that follow one another", "a row stride of " + std::to_string(row_bytes) + " bytes");
    }
    return {static_cast<const std::uint8_t*>(array.data()), height, width, row_bytes};
}

Image read_nv12(const py::object& pixels) {
    if (!py::isinstance<py::tuple>(pixels) || py::len(pixels) != 2)
        refuse("image", "NV12 as a tuple (Y, UV)", py::str(py::type::of(pixels).attr("__name__")).cast<std::string>());
    const auto planes = py::reinterpret_borrow<py::tuple>(pixels);
    const Plane y = read_plane(planes[0], "image Y plane", 1);
    const Plane uv = read_plane(planes[1], "image UV plane", 2);
    if (y.width % 2 != 0 || y.height % 2 != 0 || uv.width * 2 != y.width || uv.height * 2 != y.height) {
        refuse("image", "NV12 with even sides and a UV plane of half of them",
               "Y " + shape_of(planes[0]) + " and UV " + shape_of(planes[1]));
    }
    return {Layout::kNv12, static_cast<int>(y.width), static_cast<int>(y.height), y.data, y.row_bytes, uv.data,
            uv.row_bytes};
}

struct Memory {
    std::uintptr_t begin;
    std::uintptr_t end;

    bool meets(const Memory& other) const { return begin < other.end && other.begin < end; }
};

Memory memory_at(const void* data, std::ptrdiff_t bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    return {begin, begin + static_cast<std::uintptr_t>(bytes)};
}

Memory rows_at(const void* data, std::ptrdiff_t row_bytes, int rows, int last_row_bytes) {
    return memory_at(data, row_bytes * (rows - 1) + last_row_bytes);
}

void refuse_aliases(const Memory& out, const Image& image, const Boxes& boxes) {
    const bool nv12 = image.layout == Layout::kNv12;
    bool meets = out.meets(rows_at(image.pixels, image.row_bytes, image.height, image.width * (nv12 ? 1 : 3)));
    if (nv12) meets = meets || out.meets(rows_at(image.chroma, image.chroma_row_bytes, image.height / 2, image.width));
    if (meets) refuse("out", "memory apart from the image", "an array that overlaps it");
    if (out.meets(memory_at(boxes.data, static_cast<std::ptrdiff_t>(boxes.count * 4 * sizeof(float))))) {
        refuse("out", "memory apart from the boxes", "an array that overlaps them");
    }
}

void check_dense(const py::array& array, const std::string& name) {
    constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if ((array.flags() & py::array::c_style) == 0)
        refuse(name, "a C-contiguous array", "strides " + py::str(array.attr("strides")).cast<std::string>());
    if ((array.flags() & kAligned) == 0) refuse(name, "an aligned array", "one that is not");
}

std::string reason(Placement placement) {
    switch (placement) {
        case Placement::kNotFinite: return "has numbers that are not finite";
        case Placement::kEmpty: return "is empty or inverted (wanted left < right and top < bottom)";
        case Placement::kOutside: return "has no pixel inside the frame";
        case Placement::kTooLarge:
            return "makes a square of more than " + std::to_string(kMaxSidePx) + " pixels a side";
        case Placement::kInside: break;
    }
    return "";
}

std::string numbers(const float* box) {
    return "(" + std::to_string(box[0]) + ", " + std::to_string(box[1]) + ", " + std::to_string(box[2]) + ", " +
           std::to_string(box[3]) + ")";
}

}  // namespace

Image read_image(const py::object& pixels, const std::string& layout) {
    const Layout named = layout_named(layout);
    if (named == Layout::kNv12) return read_nv12(pixels);
    const Plane plane = read_plane(pixels, "image", 3);
    return {named,
            static_cast<int>(plane.width),
            static_cast<int>(plane.height),
            plane.data,
            plane.row_bytes,
            nullptr,
            0};
}

Image describe_image(py::ssize_t width, py::ssize_t height, const std::string& layout) {
    const Layout named = layout_named(layout);
    check_sides("image", height, width);
    if (named == Layout::kNv12 && (width % 2 != 0 || height % 2 != 0)) {
        refuse("image", "NV12 with even sides", std::to_string(width) + " x " + std::to_string(height));
    }
    return {named, static_cast<int>(width), static_cast<int>(height), nullptr, 0, nullptr, 0};
}

Boxes read_boxes(const py::object& object) {
    const py::array array = typed_array<float>(object, "boxes_xyxy", "float32");
    if (array.ndim() != 2 || array.shape(1) != 4) refuse("boxes_xyxy", "shape (N, 4)", shape_of(array));
    check_dense(array, "boxes_xyxy");
    return {static_cast<const float*>(array.data()), static_cast<std::size_t>(array.shape(0))};
}

float* writeable_out(const py::object& object, std::size_t count, int size, const Image& image, const Boxes& boxes) {
    const py::array array = typed_array<float>(object, "out", "float32");
    const std::string side = std::to_string(size);
    const bool fits = array.ndim() == 4 && static_cast<std::size_t>(array.shape(0)) == count && array.shape(1) == 3 &&
                      array.shape(2) == size && array.shape(3) == size;
    if (!fits) refuse("out", "shape (" + std::to_string(count) + ", 3, " + side + ", " + side + ")", shape_of(array));
    check_dense(array, "out");
    if (!array.writeable()) refuse("out", "a writeable array", "a read-only one");
    refuse_aliases(memory_at(array.data(), array.nbytes()), image, boxes);
    return static_cast<float*>(const_cast<void*>(array.data()));
}

std::vector<Rect> place_all(const Boxes& boxes, const Options& options, const Image& image) {
    std::vector<Rect> rects(boxes.count);
    for (std::size_t i = 0; i < boxes.count; ++i) {
        const float* box = boxes.data + 4 * i;
        const Placement placement = place(box, options.margin, options.fit, image.width, image.height, &rects[i]);
        if (placement == Placement::kInside) continue;
        throw py::value_error("boxes_xyxy[" + std::to_string(i) + "] = " + numbers(box) + " " + reason(placement) +
                              "; the frame is " + std::to_string(image.width) + " x " + std::to_string(image.height));
    }
    return rects;
}

}  // namespace dfe::python
