// Several crops at once.
#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "crop.hpp"

namespace dfe {
namespace {

// Joins whatever was started, also when starting another one fails.
class Crew {
 public:
    template <typename Work>
    Crew(std::size_t extra, Work work) {
        threads_.reserve(extra);
        try {
            for (std::size_t i = 0; i < extra; ++i) threads_.emplace_back(work);
        } catch (const std::system_error&) {
            // A system out of threads does the same work with those it has.
        }
    }
    ~Crew() {
        for (std::thread& thread : threads_) thread.join();
    }
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

 private:
    std::vector<std::thread> threads_;
};

}  // namespace

void crop_faces(const Image& image, const Options& options, const Kernels& kernels, const Rect* rects,
                std::size_t count, int threads, float* out) {
    if (count == 0) return;
    const std::size_t crop_floats =
        std::size_t{3} * static_cast<std::size_t>(options.size) * static_cast<std::size_t>(options.size);
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    const auto work = [&] {
        try {
            for (std::size_t i = next++; i < count; i = next++) {
                crop_face(image, options, kernels, rects[i], out + i * crop_floats);
            }
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    };
    {
        const std::size_t crew = std::min(static_cast<std::size_t>(threads), count);
        const Crew others(crew - 1, work);
        work();
    }
    if (failed) throw std::bad_alloc();
}

}  // namespace dfe
