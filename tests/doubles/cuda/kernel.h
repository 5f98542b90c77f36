/* How a kernel that g++ compiled runs in the driver double. For tests without a GPU.

   `cuModuleLoadData("double:/path/to/kernel.so")` loads a shared object, and `cuModuleGetFunction(..., "name")` finds
   in it, both extern "C":
     const size_t name_argument_bytes[];                 sizes of the kernel's arguments in order, closed by 0
     int name_launch(const struct KernelLaunch* launch)  runs every block and thread; 0, or a CUresult (700: illegal
                                                         address)
   It runs when the stream is waited for. `arguments[i]` points to a copy of the i-th argument, made at the launch.
   A device address is no host address: `resolve` gives the host's bytes behind it and how many follow, or null. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct KernelLaunch {
  unsigned grid[3];
  unsigned block[3];
  void* const* arguments;
  char* (*resolve)(uint64_t device_address, size_t* bytes_left);
};
