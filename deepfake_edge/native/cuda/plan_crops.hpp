// Plans on the host, for the kernel in crops.cu.
#pragma once

#include <cstddef>
#include <vector>

#include "../core/crop.hpp"
#include "plan.hpp"

namespace dfe {

// With more of them a plan could outgrow its 32-bit offsets.
constexpr std::size_t kMaxPlannedFaces = 4096;

// The plan of `count` crops, at most kMaxPlannedFaces, as the memory that it fills; `image`'s pixels are not read and
// may be absent. The rects must come from `place`. Throws std::bad_alloc, nothing else.
std::vector<Tap> plan_crops(const Image& image, const Options& options, const Rect* rects, std::size_t count);

}  // namespace dfe
