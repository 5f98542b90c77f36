// A double of the compiled kernel: crops.cu, built for the CPU and launched as ../cuda/kernel.h wants it.
//
// The double of CUDA's driver loads it as a shared object; the core's own tests link it.
#include "host_cuda.hpp"

#include "../../../deepfake_edge/native/cuda/crops.cu"
#include "../cuda/kernel.h"

#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

namespace {

constexpr int kIllegalAddress = 700;


// An argument as the kernel takes it. `good` becomes false where a pointer has no memory behind it.
template <typename Value>
Value argument(const KernelLaunch& launch, std::size_t index, bool* good) {
    Value value;
    std::memcpy(&value, launch.arguments[index], sizeof value);
    if constexpr (std::is_pointer_v<Value>) {
        if (value == nullptr) return value;
        std::size_t bytes_left = 0;
        value = reinterpret_cast<Value>(launch.resolve(reinterpret_cast<std::uintptr_t>(value), &bytes_left));
        *good = *good && value != nullptr;
    }
    return value;
}

template <typename... Values, std::size_t... Index>
int run(void (*kernel)(Values...), const KernelLaunch& launch, std::index_sequence<Index...>) {
    bool good = true;
    const std::tuple<Values...> values{argument<Values>(launch, Index, &good)...};
    if (!good) return kIllegalAddress;
    const Place grid{launch.grid[0], launch.grid[1], launch.grid[2]};
    const Place block{launch.block[0], launch.block[1], launch.block[2]};
    for_each_thread(grid, block, [&] { kernel(std::get<Index>(values)...); });
    return 0;
}

template <typename... Values>
int run(void (*kernel)(Values...), const KernelLaunch& launch) {
    return run(kernel, launch, std::index_sequence_for<Values...>{});
}

}  // namespace

#define DOUBLE_OF(name)                                                                       \
    extern "C" const std::size_t name##_argument_bytes[] = {8, 8, 4, 8, 4, 8, 0};             \
    extern "C" int name##_launch(const KernelLaunch* launch) { return run(name, *launch); }

DOUBLE_OF(crop_packed_float32)
DOUBLE_OF(crop_packed_float16)
DOUBLE_OF(crop_nv12_float32)
DOUBLE_OF(crop_nv12_float16)
