// The driver double: memory of the device, pinned memory, copies. For tests without a GPU.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "driver.hpp"

namespace cuda_double {
namespace {
// Fresh memory is NaN in every float format. What is larger is left to the system, which gives zeros without using
// memory.
constexpr size_t PATTERN_BYTES = size_t{64} << 20;
constexpr size_t ALIGNMENT = 512;

constexpr unsigned DEVICE_MAP = 2;
constexpr size_t PAGE = 4096;
constexpr char PATTERN = '\xFF', PADDING = '\x3F';

// Behind the bytes stands the rest of a page, which nothing may change, and a page that nothing may touch.
size_t padded(size_t size) { return (size + PAGE - 1) / PAGE * PAGE; }

uint64_t add_region(size_t size, bool pinned) {
  const size_t mapped = padded(size) + PAGE;
  void* bytes = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED) return 0;
  char* const end = static_cast<char*>(bytes) + padded(size);
  mprotect(end, PAGE, PROT_NONE);
  std::memset(bytes, PATTERN, std::min(size, PATTERN_BYTES));
  std::memset(static_cast<char*>(bytes) + size, PADDING, padded(size) - size);
  State& now = state();
  const uint64_t address = now.next_address;
  // An address is never given twice, and between two regions is a gap: what reaches past the end is seen.
  now.next_address += (size / ALIGNMENT + 2) * ALIGNMENT;
  std::shared_ptr<char> owner(static_cast<char*>(bytes), [mapped](char* start) { munmap(start, mapped); });
  now.regions.emplace(address, Region{address, std::move(owner), size, pinned});
  return address;
}

const Region* pinned_region(const void* host) {
  for (const auto& [address, region] : state().regions) {
    const char* start = region.bytes.get();
    if (region.pinned && host >= start && host < start + region.size) return &region;
  }
  return nullptr;
}

// A copy between the host and the device, checked when it runs. Pinned memory must still be there then.
Work copy(uint64_t device, char* host, size_t size, bool to_device) {
  const Region* pinned = pinned_region(host);
  const uint64_t pinned_address = pinned ? pinned->address + (host - pinned->bytes.get()) : 0;
  return [=]() -> int {
    std::shared_ptr<char> keeps_device, keeps_host;
    char* target = nullptr;
    {
      std::lock_guard<std::mutex> guard(state().lock);
      const Region* region = region_of(device, size);
      if (!region) return poison(ILLEGAL_ADDRESS);
      keeps_device = region->bytes;
      target = region->bytes.get() + (device - region->address);
      if (pinned_address) {
        const Region* source = region_of(pinned_address, size);
        if (!source) return poison(ILLEGAL_ADDRESS);
        keeps_host = source->bytes;
      }
    }
    to_device ? std::memcpy(target, host, size) : std::memcpy(host, target, size);
    return SUCCESS;
  };
}

int enqueue_copy(uint64_t device, void* host, size_t size, uint64_t stream, bool to_device) {
  if (size == 0 || !host || reinterpret_cast<uint64_t>(host) >= uint64_t{0xD0} << 48) return INVALID_VALUE;
  return enqueue(stream, copy(device, static_cast<char*>(host), size, to_device));
}
}  // namespace

const Region* region_of(uint64_t address, size_t size) {
  auto after = state().regions.upper_bound(address);
  if (after == state().regions.begin()) return nullptr;
  const Region& region = std::prev(after)->second;
  const uint64_t offset = address - region.address;
  return offset <= region.size && size <= region.size - offset ? &region : nullptr;
}

bool padding_is_intact() {
  for (const auto& [address, region] : state().regions) {
    const char* start = region.bytes.get();
    const auto changed = [](char byte) { return byte != PADDING; };
    if (std::any_of(start + region.size, start + padded(region.size), changed)) return false;
  }
  return true;
}

}  // namespace cuda_double

using namespace cuda_double;

DRIVER_API int cuMemAlloc_v2(uint64_t* address, size_t size) {
  CALL(CONTEXT);
  if (unsafe_during_capture()) return CAPTURE_UNSUPPORTED;
  if (size == 0) return INVALID_VALUE;
  if (size > state().facts.memory_bytes - state().used_bytes) return OUT_OF_MEMORY;
  *address = add_region(size, false);
  if (!*address) return OUT_OF_MEMORY;
  state().used_bytes += size;
  return SUCCESS;
}

DRIVER_API int cuMemFree_v2(uint64_t address) {
  CALL(CONTEXT);
  if (unsafe_during_capture()) return CAPTURE_UNSUPPORTED;
  const auto found = state().regions.find(address);
  if (found == state().regions.end() || found->second.pinned) return INVALID_VALUE;
  state().used_bytes -= found->second.size;
  state().regions.erase(found);
  return SUCCESS;
}

DRIVER_API int cuMemHostAlloc(void** host, size_t size, unsigned flags) {
  CALL(CONTEXT);
  if (unsafe_during_capture()) return CAPTURE_UNSUPPORTED;
  if (size == 0 || flags != DEVICE_MAP) return INVALID_VALUE;
  const uint64_t address = add_region(size, true);
  if (!address) return OUT_OF_MEMORY;
  *host = state().regions.at(address).bytes.get();
  return SUCCESS;
}

DRIVER_API int cuMemHostGetDevicePointer_v2(uint64_t* address, void* host, unsigned) {
  CALL(CONTEXT);
  const Region* region = pinned_region(host);
  if (!region) return INVALID_VALUE;
  *address = region->address + (static_cast<char*>(host) - region->bytes.get());
  return SUCCESS;
}

DRIVER_API int cuMemFreeHost(void* host) {
  CALL(CONTEXT);
  if (unsafe_during_capture()) return CAPTURE_UNSUPPORTED;
  const Region* region = pinned_region(host);
  if (!region || region->bytes.get() != host) return INVALID_VALUE;
  state().regions.erase(region->address);
  return SUCCESS;
}

DRIVER_API int cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  CALL(CONTEXT);
  *total_bytes = state().facts.memory_bytes;
  *free_bytes = state().facts.memory_bytes - state().used_bytes;
  return SUCCESS;
}

DRIVER_API int cuMemcpyHtoDAsync_v2(uint64_t device, const void* host, size_t size, uint64_t stream) {
  CALL(CONTEXT);
  return enqueue_copy(device, const_cast<void*>(host), size, stream, true);
}

DRIVER_API int cuMemcpyDtoHAsync_v2(void* host, uint64_t device, size_t size, uint64_t stream) {
  CALL(CONTEXT);
  return enqueue_copy(device, host, size, stream, false);
}
