#include "crop.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lines.hpp"
#include "rows.hpp"
#include "taps.hpp"

namespace dfe {
namespace {

// Rows that several output rows need, each made once.
template <typename Element>
class RowCache {
 public:
    RowCache(int slots, std::size_t row_elements)
        : row_elements_(row_elements),
          held_(static_cast<std::size_t>(slots), -1),
          elements_(row_elements * held_.size() + kGroup) {}

    // Points `rows` to those of the crop that an output takes, repeating the outermost ones.
    template <typename Make>
    void collect(int first, int height, std::vector<const Element*>* rows, Make make) {
        for (std::size_t k = 0; k < rows->size(); ++k) {
            const int row = std::min(std::max(first + static_cast<int>(k), 0), height - 1);
            const std::size_t slot = static_cast<std::size_t>(row) % held_.size();
            Element* elements = elements_.data() + slot * row_elements_;
            if (held_[slot] != row) {
                make(row, elements);
                held_[slot] = row;
            }
            (*rows)[k] = elements;
        }
    }

    std::size_t row_bytes() const { return row_elements_ * sizeof(Element); }

 private:
    std::size_t row_elements_;
    std::vector<int> held_;
    LineVector<Element> elements_;
};

struct Pass {
    const Options& options;
    const Kernels& kernels;
    const Rect& rect;
    float* first_out;
    const Filter& filter;
    const Taps& taps;
    SourceRows& source;
    std::size_t reach;
    bool swapped;  // the source's first channel goes to the third plane

    int channel(int plane) const { return swapped ? 2 - plane : plane; }
    float* out(int plane, int y) const {
        return first_out + (static_cast<std::ptrdiff_t>(plane) * options.size + y) * options.size;
    }
};

// The rows from one output's first to the next one's last, at most.
int rows_of_two(const Axis& vertical, int slots) {
    int step = 0;
    for (std::size_t y = 1; y < vertical.first.size(); ++y) {
        step = std::max(step, vertical.first[y] - vertical.first[y - 1]);
    }
    return slots + step;
}

// Runs down the crop: filters the rows that each output row needs, then hands them to `blend` plane by plane.
// `slots`: rows that `blend` takes, at least the filter's taps.
//
// The rows are filtered one output ahead of those that are blended: a load that straddles two stores waits until
// both have left the CPU's queue.
template <typename Element, typename FilterRow, typename Blend>
void run(const Pass& pass, int slots, FilterRow filter_row, Blend blend) {
    const Axis& vertical = pass.filter.vertical;
    const int height = pass.rect.height();
    const int size = pass.options.size;
    RowCache<Element> cache(std::min(rows_of_two(vertical, slots), height),
                            static_cast<std::size_t>(pass.taps.padded) * 3);
    std::vector<const Element*> rows(static_cast<std::size_t>(slots));
    std::vector<const Element*> next(rows.size());
    const auto make = [&](int row, Element* planes) {
        const std::uint8_t* pixels = pass.source.row(row);
        if (pixels == nullptr) {
            std::memset(planes, 0, cache.row_bytes());
        } else {
            filter_row(pixels, pass.taps, planes);
        }
    };
    cache.collect(vertical.first.front(), height, &next, make);
    for (int y = 0; y < size; ++y) {
        rows.swap(next);
        if (y + 1 < size) cache.collect(vertical.first[static_cast<std::size_t>(y) + 1], height, &next, make);
        for (int plane = 0; plane < 3; ++plane) {
            const std::ptrdiff_t from = plane == 0 ? pass.channel(0) : pass.channel(plane) - pass.channel(plane - 1);
            for (const Element*& row : rows) row += from * pass.taps.padded;
            blend(rows.data(), y, pass.options.affine[plane], pass.out(plane, y));
        }
    }
}

void run_blend(const Pass& pass) {
    const std::int32_t* weights = pass.filter.vertical.weights.data();
    run<std::int16_t>(pass, 2, pass.kernels.blend_row,
                      [&](const std::int16_t* const* rows, int y, Affine affine, float* out) {
                          pass.kernels.blend(rows, weights + std::ptrdiff_t{2} * y, affine, out, pass.options.size);
                      });
}

void run_rounded(const Pass& pass) {
    const PackedColumns columns = pack_columns(pass.filter.vertical);
    run<std::uint8_t>(pass, columns.pairs * 2, pass.kernels.rounded_row,
                      [&](const std::uint8_t* const* rows, int y, Affine affine, float* out) {
                          pass.kernels.rounded(rows, columns.at(y), affine, out, pass.options.size);
                      });
}

void run_mean(const Pass& pass) {
    const float* weights = pass.filter.vertical.means.data();
    const int taps = pass.filter.vertical.taps;
    const MeanStep step{pass.filter.mean_factor, pass.filter.mean_bias};
    run<float>(pass, taps, pass.kernels.mean_row, [&](const float* const* rows, int y, Affine affine, float* out) {
        const float* of_row = weights + static_cast<std::ptrdiff_t>(y) * taps;
        pass.kernels.mean(rows, of_row, taps, step, affine, out, pass.options.size);
    });
}

// Filters the source's rows before its columns; the columns' bytes are then finished as a filter of one tap.
void run_rounded_vertical_first(const Pass& pass) {
    const PackedColumns columns = pack_columns(pass.filter.vertical);
    const int height = pass.rect.height();
    const int row_bytes = pass.rect.width() * pass.taps.pixel_bytes;
    const int padded_bytes = (row_bytes + kGroup - 1) / kGroup * kGroup;
    RowCache<std::uint8_t> cache(std::min(columns.pairs * 2, height), static_cast<std::size_t>(padded_bytes));
    std::vector<const std::uint8_t*> rows(static_cast<std::size_t>(columns.pairs) * 2);
    std::vector<std::uint8_t> squeezed(std::max(pass.reach, static_cast<std::size_t>(padded_bytes)), 0);
    std::vector<std::uint8_t> planes(static_cast<std::size_t>(pass.taps.padded) * 3 + kGroup);
    const auto make = [&](int row, std::uint8_t* copy) {
        const std::uint8_t* pixels = pass.source.row(row);
        if (pixels == nullptr) {
            std::memset(copy, 0, cache.row_bytes());
        } else {
            std::memcpy(copy, pixels, static_cast<std::size_t>(row_bytes));
        }
    };
    const std::int16_t high[2] = {1 << (kRoundedBits - 8), 0};
    const std::int16_t low[2] = {0, 0};
    for (int y = 0; y < pass.options.size; ++y) {
        cache.collect(pass.filter.vertical.first[static_cast<std::size_t>(y)], height, &rows, make);
        pass.kernels.rounded_bytes(rows.data(), columns.at(y), squeezed.data(), padded_bytes);
        pass.kernels.rounded_row(squeezed.data(), pass.taps, planes.data());
        for (int plane = 0; plane < 3; ++plane) {
            const std::uint8_t* bytes = planes.data() + pass.channel(plane) * pass.taps.padded;
            const std::uint8_t* both[2] = {bytes, bytes};
            pass.kernels.rounded(both, {high, low, 1}, pass.options.affine[plane], pass.out(plane, y),
                                 pass.options.size);
        }
    }
}

}  // namespace

void crop_face(const Image& image, const Options& options, const Kernels& kernels, const Rect& rect, float* out) {
    const Filter filter = make_filter(options.resize, rect.width(), rect.height(), options.size);
    const PackedTaps packed = pack_taps(filter.horizontal, filter.method, SourceRows::pixel_bytes(image.layout));
    SourceRows source(image, kernels, rect, packed.reach);
    const bool swapped = options.rgb_planes != (image.layout == Layout::kRgb);
    const Pass pass{options, kernels, rect, out, filter, packed.view, source, packed.reach, swapped};
    switch (filter.method) {
        case Method::kBlend: return run_blend(pass);
        case Method::kRounded: return filter.vertical_first ? run_rounded_vertical_first(pass) : run_rounded(pass);
        case Method::kMean: return run_mean(pass);
    }
}

}  // namespace dfe
