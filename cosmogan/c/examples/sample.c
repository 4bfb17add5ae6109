/* Generates maps of a seed and prints their mean and standard deviation.
 *
 *     cargo build --release -p cosmogan-c
 *     cc cosmogan/c/examples/sample.c -Icosmogan/c/include -Ltarget/release -lcosmogan_c -lm -o sample
 *     LD_LIBRARY_PATH=target/release ./sample cosmogan/generator/weights/generator.safetensors 16 42
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cosmogan.h"

int main(int count, char **arguments) {
    char error[256];
    cosmogan_generator *generator = NULL;
    if (count != 4) {
        fprintf(stderr, "usage: sample WEIGHTS.safetensors COUNT SEED\n");
        return 2;
    }
    if (cosmogan_abi_version() != COSMOGAN_ABI_VERSION) {
        fprintf(stderr, "library version %s has another interface than this program was built for\n", cosmogan_version());
        return 1;
    }
    if (cosmogan_load(arguments[1], 0, &generator, error, sizeof error) != COSMOGAN_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    size_t maps = strtoull(arguments[2], NULL, 10), size = cosmogan_map_size(generator);
    size_t values = maps * size * size;
    float *kappa = malloc(values * sizeof *kappa);
    uint64_t seed = strtoull(arguments[3], NULL, 10);
    if (kappa == NULL || cosmogan_sample(generator, seed, 0, maps, kappa, values, error, sizeof error) != COSMOGAN_OK) {
        fprintf(stderr, "%s\n", kappa == NULL ? "out of memory" : error);
        free(kappa);
        cosmogan_free(generator);
        return 1;
    }
    double sum = 0, squares = 0;
    for (size_t i = 0; i < values; i++) {
        sum += kappa[i];
        squares += (double)kappa[i] * kappa[i];
    }
    double mean = sum / values;
    printf("%zu maps of %zu x %zu: mean %.6f, standard deviation %.6f\n", maps, size, size, mean,
           sqrt(squares / values - mean * mean));
    free(kappa);
    cosmogan_free(generator);
    return 0;
}
