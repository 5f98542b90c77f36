// The Python module deepfake_edge._native; deepfake_edge.preprocess is its typed face.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <vector>

#include "../cuda/plan_crops.hpp"
#include "arrays.hpp"

namespace py = pybind11;

namespace dfe::python {
namespace {

using Triple = std::array<float, 3>;

const Kernels& kernels_named(const std::string& name) {
    const Kernels* sets[kMaxKernels];
    const int count = available_kernels(sets);
    for (int i = 0; i < count; ++i) {
        if (name.empty() || name == sets[i]->name) return *sets[i];
    }
    throw py::value_error("kernel: this CPU has no '" + name + "'");
}

std::vector<std::string> kernel_names() {
    const Kernels* sets[kMaxKernels];
    const int count = available_kernels(sets);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(sets[i]->name);
    return names;
}

template <typename Value, std::size_t Count>
Value chosen(const char* option, const std::string& name, const std::array<std::pair<const char*, Value>, Count>& all) {
    for (const auto& [label, value] : all) {
        if (name == label) return value;
    }
    throw py::value_error(std::string(option) + ": '" + name + "' is not known");
}

Options make_options(int size, double margin, const std::string& fit, const std::string& resize,
                     const std::string& order, const Triple& mean, const Triple& scale) {
    constexpr int kMaxSize = 4096;
    if (size < 1 || size > kMaxSize) throw py::value_error("size_px: wanted 1 to 4096, got " + std::to_string(size));
    if (!(margin > 0.0 && margin <= 1e3))
        throw py::value_error("margin: wanted a number above 0, got " + std::to_string(margin));
    Options options{};
    options.size = size;
    options.margin = margin;
    options.fit = chosen<Fit, 2>("fit", fit, {{{"stretch", Fit::kStretch}, {"square", Fit::kSquare}}});
    options.resize = chosen<Resize, 4>("resize", resize,
                                       {{{"linear", Resize::kLinear},
                                         {"area", Resize::kArea},
                                         {"bilinear", Resize::kBilinear},
                                         {"bicubic", Resize::kBicubic}}});
    options.rgb_planes = chosen<bool, 2>("channel_order", order, {{{"rgb", true}, {"bgr", false}}});
    for (std::size_t i = 0; i < 3; ++i) options.affine[i] = {mean[i], scale[i]};
    return options;
}

void crop_batch(const py::object& image, const std::string& layout, const py::object& boxes_xyxy, const py::object& out,
                const Options& options, int threads, const std::string& kernel) {
    if (threads < 1) throw py::value_error("threads: wanted at least 1, got " + std::to_string(threads));
    const Kernels& kernels = kernels_named(kernel);
    const Image source = read_image(image, layout);
    const Boxes boxes = read_boxes(boxes_xyxy);
    float* target = writeable_out(out, boxes.count, options.size, source, boxes);
    const std::vector<Rect> rects = place_all(boxes, options, source);
    const py::gil_scoped_release unlocked;
    crop_faces(source, options, kernels, rects.data(), rects.size(), threads, target);
}

py::array_t<std::uint8_t> plan_crops(py::ssize_t width, py::ssize_t height, const std::string& layout,
                                     const py::object& boxes_xyxy, const Options& options) {
    const Image frame = describe_image(width, height, layout);
    const Boxes boxes = read_boxes(boxes_xyxy);
    if (boxes.count > kMaxPlannedFaces) {
        throw py::value_error("boxes_xyxy: wanted at most " + std::to_string(kMaxPlannedFaces) + " at once, got " +
                              std::to_string(boxes.count));
    }
    const std::vector<Rect> rects = place_all(boxes, options, frame);
    std::vector<Tap> memory;
    {
        const py::gil_scoped_release unlocked;
        memory = dfe::plan_crops(frame, options, rects.data(), rects.size());
    }
    const std::size_t bytes = memory.size() * sizeof(Tap);
    return py::array_t<std::uint8_t>(bytes, reinterpret_cast<const std::uint8_t*>(memory.data()));
}

}  // namespace
}  // namespace dfe::python

PYBIND11_MODULE(_native, m) {
    namespace here = dfe::python;
    m.doc() = "Native preprocessing; use deepfake_edge.preprocess.";
    py::class_<dfe::Options>(m, "CropOptions", "A CropSpec as the native code reads it.")
        .def(py::init(&here::make_options), py::kw_only(), py::arg("size_px"), py::arg("margin"), py::arg("fit"),
             py::arg("resize"), py::arg("channel_order"), py::arg("mean"), py::arg("scale"));
    m.def("crop_batch", &here::crop_batch, py::arg("image"), py::arg("layout"), py::arg("boxes_xyxy"), py::arg("out"),
          py::arg("options"), py::arg("threads"), py::arg("kernel"),
          "Crop into `out`; raises ValueError naming the argument that is wrong. Releases the GIL.");
    m.def("plan_crops", &here::plan_crops, py::arg("width"), py::arg("height"), py::arg("layout"),
          py::arg("boxes_xyxy"), py::arg("options"),
          "What the CUDA kernel must know to crop from a frame; raises as crop_batch does. Releases the GIL.");
    m.attr("ROWS_PER_THREAD") = dfe::kRowsPerThread;
    m.def("kernels", &here::kernel_names, "The kernel sets that this CPU can run, the best first.");
}
