#include "plan_crops.hpp"

#include <algorithm>
#include <cstring>

namespace dfe {
namespace {

constexpr std::size_t kPlanTaps = sizeof(Plan) / sizeof(Tap);
constexpr std::size_t kFaceTaps = sizeof(FacePlan) / sizeof(Tap);

// Where an axis of a crop lies in the frame: inputs begin .. begin + length of 0 .. limit.
struct Extent {
    int begin;
    int length;
    int limit;
};

// What lies outside the frame is black, as if it weighed nothing.
Tap tap_at(int input, const Extent& extent, std::int32_t weight) {
    const int at = extent.begin + std::min(std::max(input, 0), extent.length - 1);
    const int inside = std::min(std::max(at, 0), extent.limit - 1);
    return {inside, inside == at ? weight : 0};
}

template <typename Weight>
AxisPlan append_axis(const Axis& axis, const std::vector<Weight>& weights, const Extent& extent,
                     std::vector<Tap>* memory) {
    static_assert(sizeof(Weight) == sizeof(Tap::weight), "a weight is 32 bits");
    const std::size_t taps = static_cast<std::size_t>(axis.taps);
    const AxisPlan plan{axis.taps, static_cast<std::int32_t>(memory->size())};
    memory->resize(memory->size() + weights.size());
    Tap* tap = memory->data() + plan.table;
    for (std::size_t k = 0; k < taps; ++k) {
        for (std::size_t i = 0; i < axis.first.size(); ++i) {
            std::int32_t weight = 0;
            std::memcpy(&weight, &weights[i * taps + k], sizeof weight);
            *tap++ = tap_at(axis.first[i] + static_cast<int>(k), extent, weight);
        }
    }
    return plan;
}

FacePlan append_face(const Image& image, const Options& options, const Rect& rect, std::vector<Tap>* memory) {
    const Filter filter = make_filter(options.resize, rect.width(), rect.height(), options.size);
    const Extent columns{rect.left, rect.width(), image.width};
    const Extent rows{rect.top, rect.height(), image.height};
    FacePlan face{};
    face.method = filter.method;
    face.vertical_first = filter.vertical_first;
    face.horizontal = append_axis(filter.horizontal, filter.horizontal.weights, columns, memory);
    const Axis& vertical = filter.vertical;
    face.vertical = filter.method == Method::kMean ? append_axis(vertical, vertical.means, rows, memory)
                                                   : append_axis(vertical, vertical.weights, rows, memory);
    face.mean_factor = filter.mean_factor;
    face.mean_bias = filter.mean_bias;
    return face;
}

}  // namespace

std::vector<Tap> plan_crops(const Image& image, const Options& options, const Rect* rects, std::size_t count) {
    Plan plan{};
    plan.size = options.size;
    plan.last_channel_first = options.rgb_planes != (image.layout == Layout::kRgb) ? 1 : 0;
    std::copy(options.affine, options.affine + 3, plan.affine);
    std::vector<Tap> memory(kPlanTaps + count * kFaceTaps);
    std::memcpy(memory.data(), &plan, sizeof plan);
    for (std::size_t i = 0; i < count; ++i) {
        const FacePlan face = append_face(image, options, rects[i], &memory);
        std::memcpy(memory.data() + kPlanTaps + i * kFaceTaps, &face, sizeof face);
    }
    return memory;
}

}  // namespace dfe
