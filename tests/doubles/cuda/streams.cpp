// The driver double: streams, capture, graphs. For tests without a GPU.
#include <utility>

#include "driver.hpp"

namespace cuda_double {
namespace {
constexpr unsigned NON_BLOCKING = 1;
constexpr int CAPTURE_GLOBAL = 0, CAPTURE_RELAXED = 2;

std::shared_ptr<Stream> find_stream(uint64_t handle) {
  const auto found = state().streams.find(handle);
  return found == state().streams.end() ? nullptr : found->second;
}

// Runs what waits on the stream, in order, up to the first error. The lock is free while a piece of work runs: it may
// be Python's, which waits for the interpreter's own lock.
int run_all(Stream& stream, std::unique_lock<std::mutex>& lock) {
  state().idle.wait(lock, [&] { return !stream.running; });
  stream.running = true;
  int error = SUCCESS;
  while (!error && !stream.waiting.empty()) {
    Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    lock.unlock();
    error = work();
    work = nullptr;
    lock.lock();
    if (error) poison(error);
    if (state().sticky) error = state().sticky;
  }
  stream.running = false;
  state().idle.notify_all();
  return error;
}
}  // namespace

bool unsafe_during_capture() {
  bool found = false;
  for (auto& [handle, stream] : state().streams) {
    if (!stream->capturing || stream->capture_mode == CAPTURE_RELAXED) continue;
    if (stream->capture_mode != CAPTURE_GLOBAL && stream->capture_thread != std::this_thread::get_id()) continue;
    stream->invalidated = found = true;
  }
  return found;
}

int enqueue(uint64_t handle, Work work) {
  // The default stream waits for others and others for it: nothing here is meant to use it.
  const auto stream = find_stream(handle);
  if (!stream) return INVALID_HANDLE;
  if (!stream->capturing) {
    stream->waiting.push_back(std::move(work));
  } else if (stream->invalidated) {
    return CAPTURE_INVALIDATED;
  } else {
    stream->captured->work.push_back(std::move(work));
  }
  return SUCCESS;
}

}  // namespace cuda_double

using namespace cuda_double;

DRIVER_API int cuStreamCreate(uint64_t* handle, unsigned flags) {
  CALL(CONTEXT);
  if (flags != NON_BLOCKING) return INVALID_VALUE;
  *handle = state().next_handle++;
  state().streams.emplace(*handle, std::make_shared<Stream>());
  return SUCCESS;
}

// Work that nobody waited for is lost: the worst that can happen to it.
DRIVER_API int cuStreamDestroy_v2(uint64_t handle) {
  CALL(CONTEXT);
  return state().streams.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

DRIVER_API int cuStreamSynchronize(uint64_t handle) {
  CALL(CONTEXT);
  const auto stream = find_stream(handle);
  if (!stream) return INVALID_HANDLE;
  if (stream->capturing) {
    stream->invalidated = true;
    return CAPTURE_UNSUPPORTED;
  }
  return run_all(*stream, call.lock);
}

DRIVER_API int cuStreamBeginCapture_v2(uint64_t handle, int mode) {
  CALL(CONTEXT);
  const auto stream = find_stream(handle);
  if (!stream) return INVALID_HANDLE;
  if (stream->capturing) return INVALID_VALUE;
  stream->capturing = true;
  stream->invalidated = false;
  stream->capture_mode = mode;
  stream->capture_thread = std::this_thread::get_id();
  stream->captured = std::make_shared<Graph>();
  return SUCCESS;
}

DRIVER_API int cuStreamIsCapturing(uint64_t handle, int* status) {
  CALL(CONTEXT);
  const auto stream = find_stream(handle);
  if (!stream) return INVALID_HANDLE;
  *status = !stream->capturing ? 0 : stream->invalidated ? 2 : 1;
  return SUCCESS;
}

DRIVER_API int cuStreamEndCapture(uint64_t handle, uint64_t* graph) {
  CALL(CONTEXT);
  *graph = 0;
  const auto stream = find_stream(handle);
  if (!stream) return INVALID_HANDLE;
  if (!stream->capturing) return CAPTURE_UNMATCHED;
  if (stream->capture_mode != CAPTURE_RELAXED && stream->capture_thread != std::this_thread::get_id()) {
    return CAPTURE_WRONG_THREAD;
  }
  const auto captured = std::exchange(stream->captured, nullptr);
  stream->capturing = false;
  if (stream->invalidated) return CAPTURE_INVALIDATED;
  *graph = state().next_handle++;
  state().graphs.emplace(*graph, captured);
  return SUCCESS;
}

DRIVER_API int cuGraphInstantiateWithFlags(uint64_t* executable, uint64_t graph, unsigned long long) {
  CALL(CONTEXT);
  const auto found = state().graphs.find(graph);
  if (found == state().graphs.end()) return INVALID_VALUE;
  *executable = state().next_handle++;
  state().executables.emplace(*executable, found->second);
  return SUCCESS;
}

DRIVER_API int cuGraphLaunch(uint64_t executable, uint64_t handle) {
  CALL(CONTEXT);
  const auto found = state().executables.find(executable);
  if (found == state().executables.end()) return INVALID_VALUE;
  for (const Work& work : found->second->work) {
    if (const int error = enqueue(handle, work)) return error;
  }
  return find_stream(handle) ? SUCCESS : INVALID_HANDLE;
}

DRIVER_API int cuGraphDestroy(uint64_t graph) {
  CALL(CONTEXT);
  return state().graphs.erase(graph) ? SUCCESS : INVALID_VALUE;
}

DRIVER_API int cuGraphExecDestroy(uint64_t executable) {
  CALL(CONTEXT);
  return state().executables.erase(executable) ? SUCCESS : INVALID_VALUE;
}
