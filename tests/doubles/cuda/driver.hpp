// A double of the CUDA driver (libcuda.so.1), for tests on machines that have no GPU. It computes nothing on any GPU.
//
// What it holds to: device addresses are no host addresses; work on a stream runs when the stream is waited for, and
// not before; every address is checked when the work runs; a sticky error stays. Each exported function starts with
// `Call`, which logs it, gives the failures that a test asked for, and repeats a sticky error.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define DRIVER_API extern "C" __attribute__((visibility("default")))

// Numbers of CUresult, from the driver's documentation.
enum Result : int {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_TIMEOUT = 702,
  ASSERT = 710,
  LAUNCH_FAILED = 719,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_UNMATCHED = 903,
  CAPTURE_WRONG_THREAD = 908,
};

namespace cuda_double {

// Memory of the device, or pinned memory of the host that the device sees. Its bytes live as long as a copy uses them.
struct Region {
  uint64_t address;  // as the device sees it; never an address of the host
  std::shared_ptr<char> bytes;
  size_t size;
  bool pinned;
};

// A piece of work on a stream: returns a CUresult when it runs.
using Work = std::function<int()>;

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::deque<Work> waiting;
  bool running = false;
  bool capturing = false, invalidated = false;
  int capture_mode = 0;
  std::thread::id capture_thread;
  std::shared_ptr<Graph> captured;
};

struct Module {
  void* library = nullptr;
};

struct Function {
  int (*launch)(const void*) = nullptr;
  const size_t* argument_bytes = nullptr;
  uint64_t module = 0;
};

struct Failure {
  int error, after, times;
};

struct Facts {
  std::string name = "CUDA driver double (no GPU)";
  int major = 8, minor = 7, integrated = 0, devices = 1, driver_version = 13000;
  size_t memory_bytes = size_t{8} << 30;
  int multiprocessors = 8;
};

struct State {
  std::mutex lock;
  std::condition_variable idle;
  bool enabled = false, initialised = false;
  Facts facts;
  int retains = 0;
  int sticky = SUCCESS;
  uint64_t next_address = uint64_t{0xD0} << 48, next_handle = uint64_t{0xD1} << 48;
  size_t used_bytes = 0;
  std::map<uint64_t, Region> regions;
  std::map<uint64_t, std::shared_ptr<Stream>> streams;
  std::map<uint64_t, std::shared_ptr<Graph>> graphs, executables;
  std::map<uint64_t, Module> modules;
  std::map<uint64_t, Function> functions;
  std::multimap<std::string, Failure> failures;
  std::vector<const char*> calls;
};

State& state();

// The stack of contexts of this thread.
std::vector<uint64_t>& contexts();
constexpr uint64_t PRIMARY_CONTEXT = uint64_t{0xD2} << 48;

bool is_sticky(int error);

// One call of an exported function; holds the lock while it lives.
class Call {
 public:
  enum Needs { NOTHING, DRIVER, STACK, CONTEXT };
  Call(const char* name, Needs needs);
  int error = SUCCESS;
  // Nothing is enabled: what a failed test left behind may free itself in peace.
  bool ignored = false;
  std::unique_lock<std::mutex> lock;
};

#define CALL(needs)                                              \
  ::cuda_double::Call call(__func__, ::cuda_double::Call::needs); \
  if (call.error || call.ignored) return call.error

// The live region that holds [address, address + size), or null.
const Region* region_of(uint64_t address, size_t size);

// Whether nothing was written behind the end of a region.
bool padding_is_intact();

// A sticky error that happened while work ran; returns it.
int poison(int error);

// Whether this thread may do now what no capture allows; if not, its captures are invalid from now on.
bool unsafe_during_capture();

// Puts work on a stream, or into what it captures.
int enqueue(uint64_t stream, Work work);

void destroy_context();
void forget_everything();

}  // namespace cuda_double
