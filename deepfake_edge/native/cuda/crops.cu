// From a frame in device memory to a network's input: all its faces in one launch.
//
// The arithmetic is pixel.hpp's and the taps are the host's own, so that the numbers are those of the CPU's kernels,
// bit by bit, as long as the compiler does not fuse multiplications with additions (-fmad=false).
//
// Threads of a warp make neighbouring outputs of a row: they write whole lines and read neighbouring pixels. A face is
// a layer of the grid, and a thread makes kRowsPerThread outputs below one another, in each of the three planes.
#include <cuda_fp16.h>

#include "plan.hpp"

namespace dfe {
namespace {

constexpr int kBlockThreads = 256;

// Three channels of a pixel.
template <typename Number>
struct Triple {
    Number channel[3];
};
using Bytes = Triple<std::uint8_t>;

// BGR or RGB.
struct PackedFrame {
    const std::uint8_t* pixels;
    std::int32_t row_bytes;

    __device__ Bytes read(int x, int y) const {
        const std::uint8_t* pixel = pixels + 3 * x + static_cast<std::int64_t>(y) * row_bytes;
        return {{pixel[0], pixel[1], pixel[2]}};
    }
};

struct Nv12Frame {
    const std::uint8_t* luma;
    std::int32_t row_bytes;
    const std::uint8_t* chroma;
    std::int32_t chroma_row_bytes;

    __device__ Bytes read(int x, int y) const {
        const std::uint8_t* uv = chroma + (x & ~1) + static_cast<std::int64_t>(y / 2) * chroma_row_bytes;
        std::uint8_t bgrx[4];
        nv12_pixel(luma[x + static_cast<std::int64_t>(y) * row_bytes], uv[0], uv[1], bgrx);
        return {{bgrx[0], bgrx[1], bgrx[2]}};
    }
};

// Fixed-point sums; Filter's weights keep them within 31 bits.
using Sums = Triple<std::int32_t>;

__device__ void add(const Bytes& pixel, std::int32_t weight, Sums* sums) {
    for (int c = 0; c < 3; ++c) sums->channel[c] += weight * pixel.channel[c];
}

__device__ Bytes rounded_bytes(const Sums& sums) {
    Bytes bytes;
    for (int c = 0; c < 3; ++c) bytes.channel[c] = rounded_byte(sums.channel[c]);
    return bytes;
}

// One face, and how its outputs are made of the frame's pixels.
template <typename Frame>
struct Crop {
    const Frame& frame;
    const FacePlan& face;
    const Tap* memory;
    int size;

    __device__ Tap column(int x, int k) const { return memory[face.horizontal.table + k * size + x]; }
    __device__ Tap row(int y, int k) const { return memory[face.vertical.table + k * size + y]; }

    __device__ Sums across(int x, int row) const {
        Sums sums{};
        for (int k = 0; k < face.horizontal.taps; ++k) {
            const Tap tap = column(x, k);
            add(frame.read(tap.at, row), tap.weight, &sums);
        }
        return sums;
    }

    __device__ Sums down(int column, int y) const {
        Sums sums{};
        for (int k = 0; k < face.vertical.taps; ++k) {
            const Tap tap = row(y, k);
            add(frame.read(column, tap.at), tap.weight, &sums);
        }
        return sums;
    }
};

// One column of a crop's three planes.
template <typename Value>
struct Column {
    Value* crop;
    const Plan& plan;
    int x;

    static __device__ void store(float value, float* at) { *at = value; }
    static __device__ void store(float value, __half* at) { *at = __float2half_rn(value); }

    template <typename Number>
    __device__ void write(int y, const Triple<Number>& pixel) const {
        for (int plane = 0; plane < 3; ++plane) {
            const Number number = plan.last_channel_first != 0 ? pixel.channel[2 - plane] : pixel.channel[plane];
            store(plan.affine[plane](number), crop + (plane * plan.size + y) * plan.size + x);
        }
    }
};

// A row of the frame, filtered for one column of the crop.
struct Line {
    int row;
    Sums sums;
};

// Outputs below one another mostly share their rows where a face grows: each row is filtered once.
template <typename Frame, typename Value>
__device__ void blend(const Crop<Frame>& crop, int x, int y, int end, const Column<Value>& out) {
    const Tap left = crop.column(x, 0);
    const Tap right = crop.column(x, 1);
    const auto filtered = [&](int row) {
        const Bytes near = crop.frame.read(left.at, row);
        const Bytes far = crop.frame.read(right.at, row);
        Line line{row, {}};
        for (int c = 0; c < 3; ++c) {
            line.sums.channel[c] = blend_across(near.channel[c] * left.weight + far.channel[c] * right.weight);
        }
        return line;
    };
    Line upper{-1, {}};
    Line lower{-1, {}};
    for (; y < end; ++y) {
        const Tap top = crop.row(y, 0);
        const Tap bottom = crop.row(y, 1);
        if (upper.row != top.at) upper = lower.row == top.at ? lower : filtered(top.at);
        if (lower.row != bottom.at) lower = upper.row == bottom.at ? upper : filtered(bottom.at);
        Triple<std::int32_t> pixel;
        for (int c = 0; c < 3; ++c) {
            pixel.channel[c] = blend_down(upper.sums.channel[c], top.weight, lower.sums.channel[c], bottom.weight);
        }
        out.write(y, pixel);
    }
}

template <typename Frame>
__device__ Bytes rounded(const Crop<Frame>& crop, int x, int y) {
    const bool rows_first = crop.face.vertical_first;
    const int taps = rows_first ? crop.face.horizontal.taps : crop.face.vertical.taps;
    Sums sums{};
    for (int k = 0; k < taps; ++k) {
        const Tap tap = rows_first ? crop.column(x, k) : crop.row(y, k);
        const Sums first = rows_first ? crop.down(tap.at, y) : crop.across(x, tap.at);
        add(rounded_bytes(first), tap.weight, &sums);
    }
    return rounded_bytes(sums);
}

template <typename Frame>
__device__ Bytes mean(const Crop<Frame>& crop, int x, int y) {
    Triple<float> sum{};
    for (int k = 0; k < crop.face.vertical.taps; ++k) {
        const Tap tap = crop.row(y, k);
        const float weight = __int_as_float(tap.weight);
        const Sums line = crop.across(x, tap.at);
        for (int c = 0; c < 3; ++c) sum.channel[c] += static_cast<float>(line.channel[c]) * weight;
    }
    Bytes pixel;
    for (int c = 0; c < 3; ++c) {
        pixel.channel[c] = mean_byte(sum.channel[c], crop.face.mean_factor, crop.face.mean_bias);
    }
    return pixel;
}

template <typename Frame, typename Value>
__device__ void crop_faces(const Tap* memory, const Frame& frame, Value* out) {
    const Plan plan = *reinterpret_cast<const Plan*>(memory);
    const FacePlan face = reinterpret_cast<const FacePlan*>(memory + sizeof(Plan) / sizeof(Tap))[blockIdx.z];
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y) * kRowsPerThread;
    if (x >= plan.size) return;
    const int end = y + kRowsPerThread < plan.size ? y + kRowsPerThread : plan.size;
    const Crop<Frame> crop{frame, face, memory, plan.size};
    const std::int64_t crop_values = std::int64_t{3} * plan.size * plan.size;
    const Column<Value> column{out + blockIdx.z * crop_values, plan, x};
    switch (face.method) {
        case Method::kBlend: return blend(crop, x, y, end, column);
        case Method::kRounded:
            for (int row = y; row < end; ++row) column.write(row, rounded(crop, x, row));
            return;
        case Method::kMean:
            for (int row = y; row < end; ++row) column.write(row, mean(crop, x, row));
            return;
    }
}

}  // namespace
}  // namespace dfe

// Packed pixels have no second plane: its two arguments are there so that all are called alike.
#define DFE_KERNEL(name, Value, frame)                                                                          \
    extern "C" __global__ void __launch_bounds__(dfe::kBlockThreads)                                            \
        name(const dfe::Tap* __restrict__ plan, const std::uint8_t* __restrict__ pixels,                    \
             std::int32_t row_bytes, [[maybe_unused]] const std::uint8_t* __restrict__ chroma,                  \
             [[maybe_unused]] std::int32_t chroma_row_bytes, Value* __restrict__ out) {                         \
        dfe::crop_faces(plan, dfe::frame, out);                                                                 \
    }

DFE_KERNEL(crop_packed_float32, float, PackedFrame({pixels, row_bytes}))
DFE_KERNEL(crop_packed_float16, __half, PackedFrame({pixels, row_bytes}))
DFE_KERNEL(crop_nv12_float32, float, Nv12Frame({pixels, row_bytes, chroma, chroma_row_bytes}))
DFE_KERNEL(crop_nv12_float16, __half, Nv12Frame({pixels, row_bytes, chroma, chroma_row_bytes}))
