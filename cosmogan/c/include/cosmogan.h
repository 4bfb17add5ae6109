/* The CosmoGAN generator: weak-lensing convergence maps from trained weights.
 *
 * Maps are square, convergence in row-major order, one after the other. Functions that can fail return a status. If it
 * is not COSMOGAN_OK and `error` is not NULL, `error` receives one line that says what is wrong and what to do,
 * truncated to `error_size` bytes including the terminating NUL. There is no global state: any number of generators may
 * exist, and any number of threads may use one of them at once, as long as none frees it. After fork() a child may use the
 * generators of its parent, also if other threads of the parent were inside a call (Python's multiprocessing does this).
 *
 * Maps have the same bits on all CPUs with the same instruction set. By default a generator uses the best instruction
 * set of the CPU; the environment variable COSMOGAN_INSTRUCTIONS, set to avx512, avx2 or portable before a generator is
 * loaded, selects another.
 *
 * Link with libcosmogan_c.so, or with libcosmogan_c.a and -lm -lpthread -ldl.
 */
#ifndef COSMOGAN_H
#define COSMOGAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Increases when a function changes or is removed; new functions do not change it. */
#define COSMOGAN_ABI_VERSION 1

typedef struct cosmogan_generator cosmogan_generator;

typedef enum cosmogan_status {
    COSMOGAN_OK = 0,
    /* A pointer is NULL, a buffer has the wrong length, or the CPU lacks the requested instruction set. */
    COSMOGAN_BAD_ARGUMENT = 1,
    /* The weights cannot be read, or are not those of a generator. */
    COSMOGAN_BAD_WEIGHTS = 2,
    /* A bug in this library. */
    COSMOGAN_DEFECT = 3
} cosmogan_status;

/* COSMOGAN_ABI_VERSION of the loaded library. */
uint32_t cosmogan_abi_version(void);

/* The version of the library, such as "0.1.0"; must not be freed. */
const char *cosmogan_version(void);

/* Loads weights from a safetensors file. `threads` is the number of threads per call, up to 1024; 0 for all cores.
 * Writes the generator to `*generator`, which must be freed with cosmogan_free; NULL on failure. */
cosmogan_status cosmogan_load(const char *path, size_t threads, cosmogan_generator **generator, char *error,
                              size_t error_size);

/* Loads weights from the bytes of such a file, which may be freed afterwards. */
cosmogan_status cosmogan_from_bytes(const void *bytes, size_t size, size_t threads, cosmogan_generator **generator,
                                    char *error, size_t error_size);

/* Loads the weights embedded in the library. Returns COSMOGAN_BAD_WEIGHTS if it was built without the feature
 * embed-weights. */
cosmogan_status cosmogan_shipped(size_t threads, cosmogan_generator **generator, char *error, size_t error_size);

/* Rows and columns of a map; 0 for NULL. */
size_t cosmogan_map_size(const cosmogan_generator *generator);

/* Width of a latent vector; 0 for NULL. */
size_t cosmogan_latent_width(const cosmogan_generator *generator);

/* Writes `count` maps of a seed, from map `first` on, to `maps`, which has room for `room` floats: exactly `count` times
 * the square of cosmogan_map_size. Map i of a seed is the same in every call. */
cosmogan_status cosmogan_sample(const cosmogan_generator *generator, uint64_t seed, uint64_t first, size_t count,
                                float *maps, size_t room, char *error, size_t error_size);

/* Writes the maps of `count` latent vectors to `maps`. Latents are standard normal deviates, one vector after the
 * other; `room` as in cosmogan_sample. */
cosmogan_status cosmogan_generate(const cosmogan_generator *generator, const float *latents, size_t count, float *maps,
                                  size_t room, char *error, size_t error_size);

/* Frees a generator; does nothing for NULL. */
void cosmogan_free(cosmogan_generator *generator);

#ifdef __cplusplus
}
#endif

#endif
