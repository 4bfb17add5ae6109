/* The CosmoGAN generator: weak-lensing convergence maps from trained weights.
 *
 * Maps are square, convergence in row order, one after the other. Functions that can fail return a status; where it is
 * not COSMOGAN_OK, and where `error` is not NULL, `error` receives one line that says what is wrong and what to do, cut
 * to `error_size` bytes with the ending zero. There is no global state: any number of generators may exist, and any
 * number of threads may use one of them at once, as long as none frees it.
 *
 * Maps are the same bits on processors with the same instructions. The environment variable COSMOGAN_INSTRUCTIONS, where
 * it is set to avx512, avx2 or portable when a generator is made, chooses others than the best of the processor.
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

/* Grows when a function changes or goes; new functions do not change it. */
#define COSMOGAN_ABI_VERSION 1

typedef struct cosmogan_generator cosmogan_generator;

typedef enum cosmogan_status {
    COSMOGAN_OK = 0,
    /* A pointer is null, a buffer has another length than asked for, or the processor lacks what is asked for. */
    COSMOGAN_BAD_ARGUMENT = 1,
    /* The weights cannot be read, or are not those of a generator. */
    COSMOGAN_BAD_WEIGHTS = 2,
    /* A defect of this library. */
    COSMOGAN_DEFECT = 3
} cosmogan_status;

/* COSMOGAN_ABI_VERSION of the library that is loaded. */
uint32_t cosmogan_abi_version(void);

/* The version of the library, such as "0.1.0"; never freed. */
const char *cosmogan_version(void);

/* Loads weights from a safetensors file. `threads` is how many each call works on, up to 1024; 0 for all cores. The
 * generator goes to `*generator`, and has to be freed; NULL goes there where there is none. */
cosmogan_status cosmogan_load(const char *path, size_t threads, cosmogan_generator **generator, char *error,
                              size_t error_size);

/* Takes the bytes of such a file, which are not needed afterwards. */
cosmogan_status cosmogan_from_bytes(const void *bytes, size_t size, size_t threads, cosmogan_generator **generator,
                                    char *error, size_t error_size);

/* Takes the weights inside the library. They are there if it was built with the feature embed-weights; otherwise this is
 * COSMOGAN_BAD_WEIGHTS. */
cosmogan_status cosmogan_shipped(size_t threads, cosmogan_generator **generator, char *error, size_t error_size);

/* Rows and columns of a map; 0 for NULL. */
size_t cosmogan_map_size(const cosmogan_generator *generator);

/* Width of a latent vector; 0 for NULL. */
size_t cosmogan_latent_width(const cosmogan_generator *generator);

/* Writes `count` maps of a seed, from map `first` on, to `maps`, which has room for `room` floats: exactly `count` times
 * the square of cosmogan_map_size. Map i of a seed is the same map in any call. */
cosmogan_status cosmogan_sample(const cosmogan_generator *generator, uint64_t seed, uint64_t first, size_t count,
                                float *maps, size_t room, char *error, size_t error_size);

/* Writes the maps of `count` latent vectors, standard normal deviates, one vector after the other. */
cosmogan_status cosmogan_generate(const cosmogan_generator *generator, const float *latents, size_t count, float *maps,
                                  size_t room, char *error, size_t error_size);

/* Frees a generator; NULL is none. */
void cosmogan_free(cosmogan_generator *generator);

#ifdef __cplusplus
}
#endif

#endif
