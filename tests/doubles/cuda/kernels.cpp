// The driver double: modules and kernels, as far as a compiler for the host can make them. For tests without a GPU.
#include <dlfcn.h>

#include <cstring>

#include "driver.hpp"
#include "kernel.h"

using namespace cuda_double;

namespace {
constexpr char PREFIX[] = "double:";

char* resolve(uint64_t address, size_t* bytes_left) {
  std::lock_guard<std::mutex> guard(state().lock);
  const Region* region = region_of(address, 1);
  if (!region) return nullptr;
  const uint64_t offset = address - region->address;
  if (bytes_left) *bytes_left = region->size - offset;
  return region->bytes.get() + offset;
}

Work launch_of(const Function& function, KernelLaunch shape, void** arguments) {
  std::vector<std::vector<char>> copies;
  for (const size_t* bytes = function.argument_bytes; *bytes; ++bytes) {
    const char* start = static_cast<const char*>(arguments[copies.size()]);
    copies.emplace_back(start, start + *bytes);
  }
  return [=, launch = function.launch]() mutable -> int {
    std::vector<void*> pointers;
    for (auto& bytes : copies) pointers.push_back(bytes.data());
    shape.arguments = pointers.data();
    const int error = launch(&shape);
    std::lock_guard<std::mutex> guard(state().lock);
    return error || padding_is_intact() ? error : ILLEGAL_ADDRESS;
  };
}
}  // namespace

DRIVER_API int cuModuleLoadData(uint64_t* handle, const void* image) {
  CALL(CONTEXT);
  const char* text = static_cast<const char*>(image);
  if (std::strncmp(text, PREFIX, sizeof(PREFIX) - 1) != 0) return INVALID_IMAGE;
  void* library = dlopen(text + sizeof(PREFIX) - 1, RTLD_NOW | RTLD_LOCAL);
  if (!library) return INVALID_IMAGE;
  *handle = state().next_handle++;
  state().modules.emplace(*handle, Module{library});
  return SUCCESS;
}

DRIVER_API int cuModuleUnload(uint64_t handle) {
  CALL(CONTEXT);
  const auto found = state().modules.find(handle);
  if (found == state().modules.end()) return INVALID_HANDLE;
  dlclose(found->second.library);
  state().modules.erase(found);
  return SUCCESS;
}

DRIVER_API int cuModuleGetFunction(uint64_t* handle, uint64_t module, const char* name) {
  CALL(CONTEXT);
  const auto found = state().modules.find(module);
  if (found == state().modules.end()) return INVALID_HANDLE;
  void* library = found->second.library;
  void* launch = dlsym(library, (std::string(name) + "_launch").c_str());
  void* sizes = dlsym(library, (std::string(name) + "_argument_bytes").c_str());
  if (!launch || !sizes) return NOT_FOUND;
  *handle = state().next_handle++;
  state().functions.emplace(*handle, Function{reinterpret_cast<int (*)(const void*)>(launch),
                                              static_cast<const size_t*>(sizes), module});
  return SUCCESS;
}

DRIVER_API int cuLaunchKernel(uint64_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                              unsigned block_y, unsigned block_z, unsigned, uint64_t stream, void** arguments,
                              void** extra) {
  CALL(CONTEXT);
  const auto found = state().functions.find(function);
  if (found == state().functions.end() || !state().modules.count(found->second.module)) return INVALID_HANDLE;
  const uint64_t threads = uint64_t{block_x} * block_y * block_z;
  if (extra || threads == 0 || threads > 1024 || block_z > 64) return INVALID_VALUE;
  if (grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_y > 65535 || grid_z > 65535) return INVALID_VALUE;
  const KernelLaunch shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, nullptr, resolve};
  return enqueue(stream, launch_of(found->second, shape, arguments));
}
