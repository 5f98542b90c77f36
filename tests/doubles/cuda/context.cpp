// The driver double: initialisation, devices, contexts, errors. For tests without a GPU.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver.hpp"

namespace cuda_double {

State& state() {
  // Never destroyed: bindings free what they hold while the process ends.
  static State* const only = new State;
  return *only;
}

std::vector<uint64_t>& contexts() {
  thread_local std::vector<uint64_t> stack;
  return stack;
}

bool is_sticky(int error) {
  return error == 214 || error == 700 || error == 702 || error == 709 || error == 710 ||
         (error >= 714 && error <= 719);
}

int poison(int error) {
  if (is_sticky(error) && state().sticky == SUCCESS) state().sticky = error;
  return error;
}

static int asked_failure(const char* name) {
  auto [first, last] = state().failures.equal_range(name);
  for (auto found = first; found != last; ++found) {
    Failure& failure = found->second;
    if (failure.after > 0) {
      --failure.after;
      continue;
    }
    const int error = failure.error;
    if (--failure.times == 0) state().failures.erase(found);
    return poison(error);
  }
  return SUCCESS;
}

Call::Call(const char* name, Needs needs) : lock(state().lock) {
  State& now = state();
  now.calls.push_back(name);
  error = asked_failure(name);
  ignored = !now.enabled && needs >= STACK;
  if (error || ignored || needs == NOTHING) return;
  if (!now.initialised) {
    error = NOT_INITIALIZED;
  } else if (needs == CONTEXT) {
    if (contexts().empty() || now.retains == 0) {
      error = INVALID_CONTEXT;
    } else {
      error = now.sticky;
    }
  }
}

}  // namespace cuda_double

using namespace cuda_double;

DRIVER_API int cuInit(unsigned) {
  CALL(NOTHING);
  if (!state().enabled || state().facts.devices == 0) return NO_DEVICE;
  state().initialised = true;
  return SUCCESS;
}

DRIVER_API int cuDriverGetVersion(int* version) {
  CALL(NOTHING);
  *version = state().facts.driver_version;
  return SUCCESS;
}

DRIVER_API int cuDeviceGetCount(int* count) {
  CALL(DRIVER);
  *count = state().facts.devices;
  return SUCCESS;
}

DRIVER_API int cuDeviceGet(int* device, int ordinal) {
  CALL(DRIVER);
  if (ordinal < 0 || ordinal >= state().facts.devices) return INVALID_DEVICE;
  *device = ordinal;
  return SUCCESS;
}

DRIVER_API int cuDeviceGetName(char* name, int length, int) {
  CALL(DRIVER);
  std::snprintf(name, length, "%s", state().facts.name.c_str());
  return SUCCESS;
}

DRIVER_API int cuDeviceTotalMem_v2(size_t* bytes, int) {
  CALL(DRIVER);
  *bytes = state().facts.memory_bytes;
  return SUCCESS;
}

DRIVER_API int cuDeviceComputeCapability(int* major, int* minor, int) {
  CALL(DRIVER);
  *major = state().facts.major;
  *minor = state().facts.minor;
  return SUCCESS;
}

DRIVER_API int cuDeviceGetAttribute(int* value, int attribute, int) {
  CALL(DRIVER);
  const Facts& facts = state().facts;
  switch (attribute) {
    case 16: *value = facts.multiprocessors; break;
    case 18: *value = facts.integrated; break;
    case 19: *value = 1; break;  // can map host memory
    case 75: *value = facts.major; break;
    case 76: *value = facts.minor; break;
    default: return NOT_SUPPORTED;
  }
  return SUCCESS;
}

DRIVER_API int cuDevicePrimaryCtxRetain(uint64_t* context, int) {
  CALL(DRIVER);
  if (state().sticky) return state().sticky;
  ++state().retains;
  *context = PRIMARY_CONTEXT;
  return SUCCESS;
}

DRIVER_API int cuDevicePrimaryCtxRelease_v2(int) {
  CALL(STACK);
  if (state().retains == 0) return INVALID_CONTEXT;
  // What a lost context held is gone with it. The error stays: the driver wants a new process.
  if (--state().retains == 0 && state().sticky) destroy_context();
  return SUCCESS;
}

DRIVER_API int cuCtxPushCurrent_v2(uint64_t context) {
  CALL(STACK);
  if (context != PRIMARY_CONTEXT || state().retains == 0) return INVALID_CONTEXT;
  contexts().push_back(context);
  return SUCCESS;
}

DRIVER_API int cuCtxPopCurrent_v2(uint64_t* context) {
  CALL(STACK);
  if (contexts().empty()) return INVALID_CONTEXT;
  if (context) *context = contexts().back();
  contexts().pop_back();
  return SUCCESS;
}

DRIVER_API int cuCtxGetCurrent(uint64_t* context) {
  CALL(DRIVER);
  *context = contexts().empty() ? 0 : contexts().back();
  return SUCCESS;
}

DRIVER_API int cuCtxGetDevice(int* device) {
  CALL(CONTEXT);
  *device = 0;
  return SUCCESS;
}

namespace {
struct Text {
  int error;
  const char *name, *text;
};
constexpr Text TEXTS[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {710, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
    {714, "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"},
    {715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "operation not supported on global/shared address space"},
    {718, "CUDA_ERROR_INVALID_PC", "invalid program counter"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const Text* text_of(int error) {
  const auto found = std::find_if(std::begin(TEXTS), std::end(TEXTS), [&](const Text& t) { return t.error == error; });
  return found == std::end(TEXTS) ? nullptr : found;
}
}  // namespace

DRIVER_API int cuGetErrorString(int error, const char** text) {
  const Text* found = text_of(error);
  // pycuda builds a string of what comes here, which a null pointer would crash.
  *text = found ? found->text : "unrecognized error code";
  return found ? SUCCESS : INVALID_VALUE;
}

DRIVER_API int cuGetErrorName(int error, const char** name) {
  const Text* found = text_of(error);
  *name = found ? found->name : nullptr;
  return found ? SUCCESS : INVALID_VALUE;
}

// What this library exports under the name, in the newest form that it has.
DRIVER_API int cuGetProcAddress_v2(const char* symbol, void** function, int, uint64_t, int* status) {
  std::string name = symbol;
  if (name == "cuGraphInstantiate") name = "cuGraphInstantiateWithFlags";
  *function = nullptr;
  for (const char* suffix : {"_v4", "_v3", "_v2", ""}) {
    Dl_info library;
    // By what nobody else can export: TensorFlow has stubs of the driver's functions, under their names.
    static const char mine = 0;
    dladdr(&mine, &library);
    void* self = dlopen(library.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = dlsym(self, (name + suffix).c_str());
    dlclose(self);
    if (*function) break;
  }
  if (status) *status = *function ? 0 : 1;
  return *function ? SUCCESS : NOT_FOUND;
}
