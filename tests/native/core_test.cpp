// The core without Python: for the sanitizers, and for CPUs that are only emulated.
//
// Every image is a heap block of exactly its own size, so that a sanitizer sees any byte read beside it. Each kernel
// set must give the generic one's floats, and so must the CUDA kernel, which runs here as its double for the CPU.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../doubles/cuda/kernel.h"
#include "crop.hpp"
#include "plan_crops.hpp"

extern "C" int crop_packed_float32_launch(const KernelLaunch* launch);
extern "C" int crop_nv12_float32_launch(const KernelLaunch* launch);

namespace {

using dfe::Affine;
using dfe::Fit;
using dfe::Image;
using dfe::Kernels;
using dfe::Layout;
using dfe::Options;
using dfe::Placement;
using dfe::Rect;
using dfe::Resize;

int failures = 0;

void expect(bool holds, const char* what, int trial) {
    if (holds) return;
    ++failures;
    std::printf("trial %d: %s\n", trial, what);
}

struct Picture {
    std::vector<std::uint8_t> pixels;
    std::vector<std::uint8_t> chroma;
    Image image;
};

std::vector<std::uint8_t> noise(std::size_t bytes, std::mt19937& random) {
    std::vector<std::uint8_t> block(bytes);
    for (std::uint8_t& byte : block) byte = static_cast<std::uint8_t>(random() & 255U);
    block.shrink_to_fit();
    return block;
}

Picture make_picture(Layout layout, int width, int height, int padding, std::mt19937& random) {
    Picture picture{};
    const bool nv12 = layout == Layout::kNv12;
    const int row = width * (nv12 ? 1 : 3);
    const int pitch = row + padding;
    const int chroma_pitch = row + 2 * padding;
    const auto bytes = [&](int apart, int rows) { return static_cast<std::size_t>(apart * (rows - 1) + row); };
    picture.pixels = noise(bytes(pitch, height), random);
    if (nv12) picture.chroma = noise(bytes(chroma_pitch, height / 2), random);
    picture.image = {layout, width, height, picture.pixels.data(), pitch, picture.chroma.data(), chroma_pitch};
    return picture;
}

Options make_options(int size, Fit fit, Resize resize) {
    return {size, 1.0, fit, resize, true, {Affine{127.5F, 0.5F}, Affine{0.0F, 1.0F}, Affine{10.0F, 0.25F}}};
}

char* as_it_is(std::uint64_t address, std::size_t*) { return reinterpret_cast<char*>(address); }

// Each crop twice, the blocks' surplus threads included.
std::vector<float> crop_on_the_device(const Image& image, const Options& options, const Rect& rect) {
    const Rect rects[2] = {rect, rect};
    const std::vector<dfe::Tap> plan = dfe::plan_crops(image, options, rects, 2);
    std::vector<float> out(static_cast<std::size_t>(6 * options.size * options.size), std::nanf(""));
    const dfe::Tap* memory = plan.data();
    auto row_bytes = static_cast<std::int32_t>(image.row_bytes);
    auto chroma_row_bytes = static_cast<std::int32_t>(image.chroma_row_bytes);
    const std::uint8_t* pixels = image.pixels;
    const std::uint8_t* chroma = image.chroma;
    float* values = out.data();
    void* const arguments[] = {&memory, &pixels, &row_bytes, &chroma, &chroma_row_bytes, &values};
    const unsigned size = static_cast<unsigned>(options.size);
    const unsigned tile_rows = 8 * dfe::kRowsPerThread;
    const KernelLaunch launch{
        {(size + 31) / 32, (size + tile_rows - 1) / tile_rows, 2}, {32, 8, 1}, arguments, as_it_is};
    const bool nv12 = image.layout == Layout::kNv12;
    if ((nv12 ? crop_nv12_float32_launch : crop_packed_float32_launch)(&launch) != 0) out.clear();
    return out;
}

void one_trial(int trial, std::mt19937& random) {
    const auto upto = [&](unsigned limit) { return static_cast<int>(random() % limit); };
    const auto layout = static_cast<Layout>(upto(3));
    const Picture picture = make_picture(layout, 2 + 2 * upto(120), 2 + 2 * upto(90), upto(7), random);
    const int sizes[] = {1, 2, 15, 16, 17, 33, 64, 150};
    const Options options = make_options(sizes[upto(8)], static_cast<Fit>(upto(2)), static_cast<Resize>(upto(4)));
    const float left = static_cast<float>(upto(240) - 20);
    const float top = static_cast<float>(upto(180) - 20);
    const float box[4] = {left, top, left + 0.3F + static_cast<float>(upto(200)),
                          top + 0.3F + static_cast<float>(upto(200))};
    Rect rect{};
    const Image& image = picture.image;
    if (place(box, options.margin, options.fit, image.width, image.height, &rect) != Placement::kInside) return;
    const Kernels* sets[dfe::kMaxKernels];
    const int count = dfe::available_kernels(sets);
    const std::size_t floats = static_cast<std::size_t>(3 * options.size * options.size);
    std::vector<float> wanted(floats);
    dfe::crop_face(image, options, dfe::kGenericKernels, rect, wanted.data());
    for (int i = 0; i < count; ++i) {
        std::vector<float> got(floats * 2);
        const Rect rects[2] = {rect, rect};
        dfe::crop_faces(image, options, *sets[i], rects, 2, 2, got.data());
        const std::size_t bytes = floats * sizeof(float);
        expect(std::memcmp(got.data(), wanted.data(), bytes) == 0, sets[i]->name, trial);
        expect(std::memcmp(got.data() + floats, wanted.data(), bytes) == 0, "the second crop differs", trial);
    }
    wanted.insert(wanted.end(), wanted.begin(), wanted.end());
    const std::vector<float> device = crop_on_the_device(image, options, rect);
    expect(device.size() == wanted.size() && std::equal(device.begin(), device.end(), wanted.begin()), "CUDA", trial);
}

void flat_colours_stay_flat(std::mt19937& random) {
    for (int value = 0; value < 256; value += 15) {
        Picture picture = make_picture(Layout::kBgr, 50, 40, 0, random);
        std::fill(picture.pixels.begin(), picture.pixels.end(), static_cast<std::uint8_t>(value));
        for (int resize = 0; resize < 4; ++resize) {
            Options options = make_options(33, Fit::kStretch, static_cast<Resize>(resize));
            for (Affine& affine : options.affine) affine = {0.0F, 1.0F};
            const Rect rect{3, 4, 47, 31};
            std::vector<float> out(3 * 33 * 33);
            dfe::crop_faces(picture.image, options, dfe::kGenericKernels, &rect, 1, 1, out.data());
            for (const float number : out) expect(number == static_cast<float>(value), "a flat colour changed", value);
        }
    }
}

void boxes_that_mean_nothing_are_told_apart() {
    Rect rect{};
    const auto placed = [&](float l, float t, float r, float b, Fit fit) {
        const float box[4] = {l, t, r, b};
        return place(box, 1.0, fit, 64, 48, &rect);
    };
    expect(placed(0, 0, 1e30F, 1, Fit::kSquare) == Placement::kTooLarge, "too large", 0);
    expect(placed(0, 0, 1e30F, 1, Fit::kStretch) == Placement::kInside && rect.right == 64, "cut", 1);
    expect(placed(-3e38F, -3e38F, 3e38F, 3e38F, Fit::kStretch) == Placement::kInside, "the widest box", 2);
    expect(placed(5, 5, 5, 9, Fit::kStretch) == Placement::kEmpty, "empty", 3);
    expect(placed(0, 0, std::nanf(""), 9, Fit::kStretch) == Placement::kNotFinite, "not a number", 4);
    expect(placed(80, 0, 86, 9, Fit::kSquare) == Placement::kOutside, "outside", 5);
}

}  // namespace

int main() {
    std::mt19937 random(7);
    boxes_that_mean_nothing_are_told_apart();
    flat_colours_stay_flat(random);
    for (int trial = 0; trial < 400; ++trial) one_trial(trial, random);
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
