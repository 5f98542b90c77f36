#include "taps.hpp"

#include <algorithm>

namespace dfe {
namespace {

void pack_weights(const Axis& axis, bool split, PackedTaps* packed) {
    const std::size_t padded = static_cast<std::size_t>(packed->view.padded);
    const std::size_t taps = static_cast<std::size_t>(axis.taps);
    packed->high.assign(padded * 2 * static_cast<std::size_t>(packed->view.pairs), 0);
    packed->low.assign(split ? packed->high.size() : 0, 0);
    for (std::size_t i = 0; i < axis.first.size(); ++i) {
        for (std::size_t k = 0; k < taps; ++k) {
            const std::int32_t weight = axis.weights[i * taps + k];
            const std::size_t at = 2 * ((k / 2) * padded + i) + k % 2;
            packed->high[at] = static_cast<std::int16_t>(split ? weight >> 8 : weight);
            if (split) packed->low[at] = static_cast<std::int16_t>(weight & 255);
        }
    }
}

// Where each output's pixels lie within its group, for kernels that pick them from one loaded window.
void pack_picks(PackedTaps* packed) {
    const Taps& view = packed->view;
    int span = 0;
    int last = 0;
    for (int i = 0; i < view.padded; ++i) {
        const int group = i - i % kGroup;
        const int near = packed->offset[static_cast<std::size_t>(i)] - packed->offset[static_cast<std::size_t>(group)];
        span = std::max(span, near + 2 * view.pixel_bytes);
        last = std::max(last, packed->offset[static_cast<std::size_t>(i)]);
        std::uint8_t* pick = packed->pick.data() + 4 * static_cast<std::size_t>(i);
        pick[0] = static_cast<std::uint8_t>(near);
        pick[2] = static_cast<std::uint8_t>(near + view.pixel_bytes);
    }
    packed->view.span = span;
    packed->reach = static_cast<std::size_t>(last + 2 * (view.pairs - 1) * view.pixel_bytes + kWindowBytes);
}

}  // namespace

PackedTaps pack_taps(const Axis& axis, Method method, int pixel_bytes) {
    PackedTaps packed;
    const int outputs = static_cast<int>(axis.first.size());
    packed.view.padded = (outputs + kGroup - 1) / kGroup * kGroup;
    packed.view.pairs = (axis.taps + 1) / 2;
    packed.view.pixel_bytes = pixel_bytes;
    packed.offset.assign(static_cast<std::size_t>(packed.view.padded), axis.first.back() * pixel_bytes);
    for (std::size_t i = 0; i < axis.first.size(); ++i) packed.offset[i] = axis.first[i] * pixel_bytes;
    packed.pick.assign(packed.offset.size() * 4, 0);
    pack_weights(axis, method != Method::kBlend, &packed);
    pack_picks(&packed);
    packed.view.offset = packed.offset.data();
    packed.view.high = packed.high.data();
    packed.view.low = packed.low.data();
    packed.view.pick = packed.pick.data();
    return packed;
}

PackedColumns pack_columns(const Axis& axis) {
    PackedColumns packed;
    packed.pairs = (axis.taps + 1) / 2;
    const std::size_t taps = static_cast<std::size_t>(axis.taps);
    const std::size_t slots = static_cast<std::size_t>(packed.pairs) * 2;
    packed.high.assign(axis.first.size() * slots, 0);
    packed.low.assign(axis.first.size() * slots, 0);
    for (std::size_t i = 0; i < axis.first.size(); ++i) {
        for (std::size_t k = 0; k < taps; ++k) {
            const std::int32_t weight = axis.weights[i * taps + k];
            packed.high[i * slots + k] = static_cast<std::int16_t>(weight >> 8);
            packed.low[i * slots + k] = static_cast<std::int16_t>(weight & 255);
        }
    }
    return packed;
}

}  // namespace dfe
