// The driver double: what tests use to set it up and to look into it. Not part of any driver.
#include <cstring>

#include "driver.hpp"

using namespace cuda_double;

namespace cuda_double {
void destroy_context() {
  State& now = state();
  now.regions.clear();
  now.streams.clear();
  now.graphs.clear();
  now.executables.clear();
  now.modules.clear();
  now.functions.clear();
  now.used_bytes = 0;
}

void forget_everything() {
  State& now = state();
  destroy_context();
  now.facts = Facts{};
  now.sticky = SUCCESS;
  now.retains = 0;
  now.initialised = false;
  now.failures.clear();
  now.calls.clear();
  now.calls.shrink_to_fit();
}

namespace {
// Python's work that no stream and no graph holds any more. It is told so later, without any lock.
std::mutex released_lock;
std::vector<int64_t> released;
}  // namespace
}  // namespace cuda_double

DRIVER_API void double_reset(int enabled) {
  std::lock_guard<std::mutex> guard(state().lock);
  forget_everything();
  state().enabled = enabled;
}

DRIVER_API void double_facts(const char* name, int major, int minor, int integrated, size_t memory_bytes, int version,
                             int devices, int multiprocessors) {
  std::lock_guard<std::mutex> guard(state().lock);
  state().facts = Facts{name, major, minor, integrated, devices, version, memory_bytes, multiprocessors};
}

DRIVER_API void double_fail(const char* function, int error, int after, int times) {
  std::lock_guard<std::mutex> guard(state().lock);
  state().failures.emplace(function, Failure{error, after, times});
}

DRIVER_API int double_failures_left() {
  std::lock_guard<std::mutex> guard(state().lock);
  return static_cast<int>(state().failures.size());
}

DRIVER_API int double_read(uint64_t address, void* host, size_t size) {
  std::lock_guard<std::mutex> guard(state().lock);
  const Region* region = region_of(address, size);
  if (!region) return poison(ILLEGAL_ADDRESS);
  std::memcpy(host, region->bytes.get() + (address - region->address), size);
  return SUCCESS;
}

DRIVER_API int double_write(uint64_t address, const void* host, size_t size) {
  std::lock_guard<std::mutex> guard(state().lock);
  const Region* region = region_of(address, size);
  if (!region) return poison(ILLEGAL_ADDRESS);
  std::memcpy(region->bytes.get() + (address - region->address), host, size);
  return SUCCESS;
}

DRIVER_API int double_enqueue(uint64_t stream, int (*run)(int64_t), int64_t work) {
  Call call("double_enqueue", Call::CONTEXT);
  if (call.error) return call.error;
  const std::shared_ptr<void> token(nullptr, [work](void*) {
    std::lock_guard<std::mutex> guard(released_lock);
    released.push_back(work);
  });
  return enqueue(stream, [token, run, work]() -> int { return run(work); });
}

DRIVER_API size_t double_released(int64_t* into, size_t room) {
  std::lock_guard<std::mutex> guard(released_lock);
  size_t count = 0;
  while (count < room && !released.empty()) {
    into[count++] = released.back();
    released.pop_back();
  }
  return count;
}

// In the order of `LIVE` in the Python module.
DRIVER_API void double_live(size_t* counts) {
  std::lock_guard<std::mutex> guard(state().lock);
  const State& now = state();
  size_t pinned = 0;
  for (const auto& [address, region] : now.regions) pinned += region.pinned;
  const size_t values[] = {now.used_bytes,      now.regions.size() - pinned,
                           pinned,              now.streams.size(),
                           now.graphs.size() + now.executables.size(),
                           now.modules.size(),  static_cast<size_t>(now.retains)};
  std::memcpy(counts, values, sizeof(values));
}

DRIVER_API size_t double_context_depth() { return contexts().size(); }

DRIVER_API int double_sticky() {
  std::lock_guard<std::mutex> guard(state().lock);
  return state().sticky;
}

DRIVER_API size_t double_calls(const char** into, size_t room) {
  std::lock_guard<std::mutex> guard(state().lock);
  const auto& calls = state().calls;
  for (size_t index = 0; index < room && index < calls.size(); ++index) into[index] = calls[index];
  return calls.size();
}
