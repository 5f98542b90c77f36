// Which kernels this CPU can run.
#include "kernels.hpp"

namespace dfe {

int available_kernels(const Kernels** sets) {
    int count = 0;
#if defined(DFE_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi")) {
        sets[count++] = &kAvx512Kernels;
    }
    if (__builtin_cpu_supports("avx2")) sets[count++] = &kAvx2Kernels;
#endif
#if defined(DFE_NEON)
    sets[count++] = &kNeonKernels;
#endif
    sets[count++] = &kGenericKernels;
    return count;
}

}  // namespace dfe
