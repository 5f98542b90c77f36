// A double of the CUDA language, for tests on machines without a GPU: enough of it to compile the kernel for the CPU
// and to run its threads one after another.
#pragma once

#include <cstring>

#define __global__
#define __device__ inline
#define __launch_bounds__(threads)

struct Place {
    unsigned x;
    unsigned y;
    unsigned z;
};

inline thread_local Place blockIdx;
inline thread_local Place blockDim;
inline thread_local Place threadIdx;

inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename Thread>
void for_each_thread(const Place& grid, const Place& block, Thread thread) {
    blockDim = block;
    const auto each = [](const Place& limit, Place* place, auto body) {
        for (place->z = 0; place->z < limit.z; ++place->z)
            for (place->y = 0; place->y < limit.y; ++place->y)
                for (place->x = 0; place->x < limit.x; ++place->x) body();
    };
    each(grid, &blockIdx, [&] { each(block, &threadIdx, thread); });
}
