// Vectors that start on a cache line: a load or store that straddles two of them costs as much as both.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace dfe {

template <typename Element>
struct LineAllocator {
    using value_type = Element;
    static constexpr std::align_val_t kLine{64};

    LineAllocator() = default;
    template <typename Other>
    explicit LineAllocator(const LineAllocator<Other>&) {}

    Element* allocate(std::size_t count) {
        return static_cast<Element*>(::operator new(count * sizeof(Element), kLine));
    }
    void deallocate(Element* elements, std::size_t) { ::operator delete(elements, kLine); }

    bool operator==(const LineAllocator&) const { return true; }
    bool operator!=(const LineAllocator&) const { return false; }
};

template <typename Element>
using LineVector = std::vector<Element, LineAllocator<Element>>;

}  // namespace dfe
