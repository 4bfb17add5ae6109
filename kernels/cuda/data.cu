// Crops of training maps that reside in device memory: out[n, i, j, c] = data[map, row + i, column + j, c].
//
// Launch: 256 threads per block, one thread per element of the crops. Maps are [maps, height, width, channels] in f32
// or half precision, crops [crops, rows, columns, channels] in f32, all row-major.
#include "index.cuh"

// Geometry of the crops. Row n of the table is (map, row, column, mirrored), integers stored as f32. Coordinates that
// would place a crop outside its map are clamped; columns of a mirrored crop are counted from the right.
struct Crops {
    int crops, rows, columns, channels;
    int maps, height, width;

    __device__ unsigned length() const { return (unsigned)(crops * rows * columns * channels); }

    // Index into the maps of element i of the crops.
    __device__ long long source(const float* table, unsigned i) const {
        const int channel = i % channels, pixel = i / channels;
        const int column = pixel % columns, row = pixel / columns % rows;
        const float* const line = table + pixel / columns / rows * 4;

        const int map = max(0, min((int)line[0], maps - 1));
        const int top = max(0, min((int)line[1], height - rows));
        const int left = max(0, min((int)line[2], width - columns));
        const int from = left + (line[3] != 0.0f ? columns - 1 - column : column);
        return (((long long)map * height + top + row) * width + from) * channels + channel;
    }
};

// Copies crops of maps in f32.
extern "C" __global__ void gather_crops(int crops, int rows, int columns, int channels, int maps, int height, int width,
                                        const float* data, const float* table, float* out) {
    const unsigned i = global_thread();
    const Crops all = {crops, rows, columns, channels, maps, height, width};
    if (i >= all.length()) return;
    out[i] = data[all.source(table, i)];
}

// Converts finite half-precision bits exactly. Read as f32, the shifted bits have an exponent that is 112 too small;
// this also holds below 2^-14, where both formats are subnormal.
__device__ inline float from_half(unsigned bits) {
    const float shifted = __uint_as_float((bits & 0x8000u) << 16 | (bits & 0x7fffu) << 13);
    return shifted * 0x1p112f;
}

// Copies crops of maps in half precision.
extern "C" __global__ void gather_crops_half(int crops, int rows, int columns, int channels, int maps, int height, int width,
                                             const unsigned short* data, const float* table, float* out) {
    const unsigned i = global_thread();
    const Crops all = {crops, rows, columns, channels, maps, height, width};
    if (i >= all.length()) return;
    out[i] = from_half(data[all.source(table, i)]);
}
