// Mock CUDA driver and NVRTC: device memory is host memory, and kernels do nothing. The environment sets the GPU's
// properties and the errors that calls return. Asynchronous faults are modelled: FAKE_FAULT_AT=N makes the Nth launch
// fault (FAKE_FAULT_AT_REPLAY=N the Nth graph launch); a later call returns FAKE_FAULT_CODE, the first one of kind
// FAKE_FAULT_SEEN_BY (alloc, launch, copy, replay, sync), and any call after that is reported on stderr.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>

namespace {
long setting(const char* name, long otherwise) {
    const char* text = getenv(name);
    return text ? atol(text) : otherwise;
}

const int OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, NO_DEVICE = 100, NOT_FOUND = 500, OUT_OF_RESOURCES = 701, LAUNCH_FAILED = 719,
          CAPTURE_INVALIDATED = 901;
long used = 0;
bool capturing = false;
int dynamic_shared = 48 << 10;

enum { SOUND, FAULTED, REPORTED } health = SOUND;
long launches = 0, replays = 0;

void fault(const char* where) {
    health = FAULTED;
    fprintf(stderr, "fault in %s\n", where);
}

// The error of earlier kernels that a call of this kind returns.
int earlier_fault(const char* kind) {
    if (health == SOUND) return 0;
    const char* seen_by = getenv("FAKE_FAULT_SEEN_BY");
    if (health == FAULTED && seen_by && strcmp(seen_by, kind) != 0) return 0;
    if (health == REPORTED) fprintf(stderr, "called after the fault: %s\n", kind);
    health = REPORTED;
    return (int)setting("FAKE_FAULT_CODE", LAUNCH_FAILED);
}

// FAKE_HANG_IN and FAKE_DIE_IN name a kernel whose launch hangs or crashes the process.
void hang_or_die(const char* kernel) {
    const char* hang = getenv("FAKE_HANG_IN");
    const char* die = getenv("FAKE_DIE_IN");
    while (hang && strcmp(hang, kernel) == 0) sleep(1);
    if (die && strcmp(die, kernel) == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
}

struct Size {
    size_t bytes;
    size_t padding;
};
}  // namespace

extern "C" {
int cuDriverGetVersion(int* version) {
    *version = (int)setting("FAKE_DRIVER", 13000);
    return 0;
}
int cuInit(unsigned) { return setting("FAKE_GPUS", 1) == 0 ? NO_DEVICE : 0; }
// NVRTC 13 loads the driver, calls cuInit, and then requests private tables, which it does not require.
int cuGetExportTable(const void**, const void*) { return NOT_FOUND; }
int cuDeviceGetCount(int* count) {
    *count = (int)setting("FAKE_GPUS", 1);
    return 0;
}
int cuDeviceGet(int* device, int number) {
    *device = number;
    return number < setting("FAKE_GPUS", 1) ? 0 : INVALID_DEVICE;
}
int cuDeviceGetName(char* name, int length, int device) {
    snprintf(name, (size_t)length, "Imaginary %d", device);
    return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const long capability = setting("FAKE_CAPABILITY", 90);
    const int threads = attribute == 39, clock = attribute == 13;
    *value = attribute == 75 ? (int)(capability / 10)
             : attribute == 76 ? (int)(capability % 10)
             : threads         ? 2048
             : clock           ? 1500000
                               : 108;
    return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = (size_t)setting("FAKE_MEMORY", 1L << 32);
    return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
    *context = (void*)1;
    return 0;
}
int cuCtxSetCurrent(void*) { return 0; }
int cuStreamCreate(void** stream, unsigned) {
    *stream = (void*)2;
    return 0;
}
int cuStreamSynchronize(void*) { return earlier_fault("sync"); }
int cuStreamDestroy_v2(void*) { return 0; }
int cuDevicePrimaryCtxRelease_v2(int) {
    // The program frees all memory before this call.
    if (setting("FAKE_TRACE", 0)) fprintf(stderr, "closed with %ld bytes in use\n", used);
    return 0;
}
int cuModuleUnload(void*) { return earlier_fault("unload"); }
int cuMemFreeHost(void* memory) {
    free(memory);
    return 0;
}
int cuEventDestroy_v2(void*) { return 0; }
int cuStreamBeginCapture_v2(void*, int) {
    capturing = true;
    return 0;
}
int cuStreamEndCapture(void*, void** graph) {
    *graph = (void*)3;
    capturing = false;
    return setting("FAKE_CAPTURE_FAILS", 0) ? CAPTURE_INVALIDATED : 0;
}
int cuGraphInstantiateWithFlags(void** executable, void*, unsigned long long) {
    *executable = (void*)4;
    return 0;
}
int cuGraphDestroy(void*) { return 0; }
int cuGraphLaunch(void*, void*) {
    if (int error = earlier_fault("replay")) return error;
    if (setting("FAKE_TRACE", 0)) fprintf(stderr, "graph launched\n");
    if (++replays == setting("FAKE_FAULT_AT_REPLAY", 0)) fault("a graph");
    return 0;
}
int cuGraphExecDestroy(void*) { return 0; }
int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (int error = earlier_fault("alloc")) return error;
    if (used + (long)bytes > setting("FAKE_MEMORY", 1L << 32)) return OUT_OF_MEMORY;
    Size* block = (Size*)aligned_alloc(512, 512 + (bytes + 511) / 512 * 512);
    block->bytes = bytes;
    used += (long)bytes;
    memset((char*)block + 512, 0, bytes);
    *address = (uint64_t)block + 512;
    return 0;
}
int cuMemFree_v2(uint64_t address) {
    if (int error = earlier_fault("free")) return error;
    Size* block = (Size*)(address - 512);
    used -= (long)block->bytes;
    free(block);
    return 0;
}
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    *total = (size_t)setting("FAKE_MEMORY", 1L << 32);
    *free_bytes = *total - (size_t)used;
    return 0;
}
int cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    *memory = malloc(bytes);
    return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    if (capturing) abort();
    if (int error = earlier_fault("copy")) return error;
    memcpy((void*)to, from, bytes);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    if (capturing) abort();
    if (int error = earlier_fault("copy")) return error;
    memcpy(to, (const void*)from, bytes);
    return 0;
}
int cuEventCreate(void** event, unsigned) {
    *event = (void*)5;
    return 0;
}
int cuEventRecord(void*, void*) { return 0; }
int cuEventElapsedTime(float* milliseconds, void*, void*) {
    *milliseconds = 0.25f;
    return 0;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    memcpy((void*)to, (const void*)from, bytes);
    return 0;
}
int cuFuncGetAttribute(int* value, int, void*) {
    *value = 40;
    return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
    *blocks = 3;
    return 0;
}
int cuEventSynchronize(void*) { return 0; }
int cuModuleLoadData(void** module, const void* image) {
    *module = (void*)6;
    if (setting("FAKE_TRACE", 0)) fprintf(stderr, "loaded %.20s\n", (const char*)image);
    return 0;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
    *function = strdup(name);
    return 0;
}
int cuFuncSetAttribute(void*, int attribute, int value) {
    // Limit of dynamic shared memory; a block of compute capability 9.0 has 227 KiB.
    if (attribute != 8 || value > 227 << 10) abort();
    dynamic_shared = value > dynamic_shared ? value : dynamic_shared;
    return 0;
}
// The driver's conditions for a tensor of bf16 or f32 in boxes with a 128-byte swizzle.
int cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* address, const uint64_t* extents,
                           const uint64_t* strides, const unsigned* boxes, const unsigned* steps, int interleave,
                           int swizzle, int promotion, int fill) {
    const unsigned bytes = type == 9 ? 2 : type == 7 ? 4 : 0;
    bool right = (uintptr_t)map % 128 == 0 && bytes > 0 && rank >= 1 && rank <= 5 && (uintptr_t)address % 16 == 0 &&
                 address != nullptr && interleave == 0 && swizzle == 3 && promotion >= 0 && promotion <= 3 && fill == 0;
    right = right && boxes[0] * bytes <= 128 && boxes[0] * bytes % 16 == 0;
    for (unsigned axis = 0; right && axis < rank; ++axis) {
        right = extents[axis] > 0 && extents[axis] <= 1ull << 32 && boxes[axis] > 0 && boxes[axis] <= 256 &&
                steps[axis] > 0 && steps[axis] <= 8;
        if (right && axis + 1 < rank) right = strides[axis] % 16 == 0 && strides[axis] < 1ull << 40;
    }
    if (!right) abort();
    memset(map, 1, 128);
    if (setting("FAKE_TRACE", 0)) fprintf(stderr, "described a tensor of %u axes\n", rank);
    return 0;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned width, unsigned height, unsigned depth,
                   unsigned shared, void*, void** arguments, void**) {
    hang_or_die((const char*)function);
    if ((int)shared > dynamic_shared) abort();
    if (x * y * z == 0 || width * height * depth == 0 || arguments[0] == nullptr) abort();
    if (int error = earlier_fault("launch")) return error;
    if (!capturing && ++launches == setting("FAKE_FAULT_AT", 0)) fault((const char*)function);
    return (int)setting("FAKE_LAUNCH_FAILS", 0);
}
int cuGetErrorName(int error, const char** name) {
    *name = error == LAUNCH_FAILED      ? "CUDA_ERROR_LAUNCH_FAILED"
            : error == 700              ? "CUDA_ERROR_ILLEGAL_ADDRESS"
            : error == OUT_OF_RESOURCES ? "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
                                        : "CUDA_ERROR_OTHER";
    return 0;
}
int cuGetErrorString(int error, const char** text) {
    *text = error == LAUNCH_FAILED ? "unspecified launch failure" : "something else";
    return 0;
}

int nvrtcVersion(int* major, int* minor) {
    *major = (int)setting("FAKE_NVRTC", 13);
    *minor = 0;
    return 0;
}
int nvrtcGetNumSupportedArchs(int* count) {
    *count = 3;
    return 0;
}
int nvrtcGetSupportedArchs(int* all) {
    all[0] = 75, all[1] = 80, all[2] = 90;
    return 0;
}
struct Program {
    std::string name;
    char image[64];
};
int nvrtcCreateProgram(Program** program, const char* source, const char* name, int, const char* const*,
                       const char* const*) {
    if (strlen(source) < 100) abort();
    *program = new Program();
    (*program)->name = name;
    if (strstr(source, "edited for a test")) (*program)->name += ", edited";
    return 0;
}
int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    if (setting("FAKE_TRACE", 0)) {
        std::string line = "compiled " + program->name;
        for (int option = 0; option < count; ++option) line = line + " " + options[option];
        fprintf(stderr, "%s\n", line.c_str());
    }
    snprintf(program->image, sizeof program->image, "%s", options[0] + strlen("--gpu-architecture="));
    return 0;
}
int nvrtcDestroyProgram(Program** program) {
    delete *program;
    return 0;
}
int nvrtcGetProgramLogSize(Program*, size_t* size) {
    *size = 1;
    return 0;
}
int nvrtcGetProgramLog(Program*, char* log) {
    *log = 0;
    return 0;
}
int nvrtcGetCUBINSize(Program*, size_t* size) {
    *size = 64;
    return 0;
}
int nvrtcGetCUBIN(Program* program, char* image) {
    memcpy(image, program->image, 64);
    return 0;
}
int nvrtcGetPTXSize(Program*, size_t* size) {
    *size = 64;
    return 0;
}
int nvrtcGetPTX(Program* program, char* image) {
    memcpy(image, program->image, 64);
    return 0;
}
}
