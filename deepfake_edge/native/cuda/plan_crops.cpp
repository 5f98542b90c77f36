#include "plan_crops.hpp"

#include <algorithm>
#include <cstring>

#include "plan.hpp"

namespace dfe {
namespace {

constexpr std::size_t kPlanWords = sizeof(Plan) / sizeof(std::int32_t);
constexpr std::size_t kFaceWords = sizeof(FacePlan) / sizeof(std::int32_t);

// Appends the table of [outputs][taps] numbers as [taps][outputs] words.
template <typename Number>
void append_turned(const std::vector<Number>& table, std::size_t taps, std::vector<std::int32_t>* words) {
    static_assert(sizeof(Number) == sizeof(std::int32_t), "a number is a word");
    const std::size_t outputs = table.size() / taps;
    const std::size_t begin = words->size();
    words->resize(begin + table.size());
    for (std::size_t i = 0; i < outputs; ++i) {
        for (std::size_t k = 0; k < taps; ++k) {
            std::memcpy(words->data() + begin + k * outputs + i, &table[i * taps + k], sizeof(Number));
        }
    }
}

AxisPlan append_axis(const Axis& axis, bool means, std::vector<std::int32_t>* words) {
    AxisPlan plan{};
    plan.taps = axis.taps;
    plan.first = static_cast<std::int32_t>(words->size());
    words->insert(words->end(), axis.first.begin(), axis.first.end());
    plan.weights = static_cast<std::int32_t>(words->size());
    const std::size_t taps = static_cast<std::size_t>(axis.taps);
    if (means) {
        append_turned(axis.means, taps, words);
    } else {
        append_turned(axis.weights, taps, words);
    }
    return plan;
}

FacePlan append_face(const Rect& rect, const Options& options, std::vector<std::int32_t>* words) {
    const Filter filter = make_filter(options.resize, rect.width(), rect.height(), options.size);
    FacePlan face{};
    face.left = rect.left;
    face.top = rect.top;
    face.height = rect.height();
    face.method = filter.method;
    face.vertical_first = filter.vertical_first;
    face.horizontal = append_axis(filter.horizontal, false, words);
    face.vertical = append_axis(filter.vertical, filter.method == Method::kMean, words);
    face.mean_factor = filter.mean_factor;
    face.mean_bias = filter.mean_bias;
    return face;
}

}  // namespace

std::vector<std::int32_t> plan_crops(const Image& image, const Options& options, const Rect* rects, std::size_t count) {
    Plan plan{};
    plan.width = image.width;
    plan.height = image.height;
    plan.size = options.size;
    plan.last_channel_first = options.rgb_planes != (image.layout == Layout::kRgb) ? 1 : 0;
    std::copy(options.affine, options.affine + 3, plan.affine);
    std::vector<std::int32_t> words(kPlanWords + count * kFaceWords);
    std::memcpy(words.data(), &plan, sizeof plan);
    for (std::size_t i = 0; i < count; ++i) {
        const FacePlan face = append_face(rects[i], options, &words);
        std::memcpy(words.data() + kPlanWords + i * kFaceWords, &face, sizeof face);
    }
    return words;
}

}  // namespace dfe
