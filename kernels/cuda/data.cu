// Training data that lies on the device: batches are cut out of it where it is.
#include "index.cuh"

// Where the crops of a table lie. Line n of it is (map, row, column, mirrored), whole numbers in f32; a crop that would leave
// its map is moved inside, and columns are counted from the right where it is mirrored.
struct Crops {
    int crops, rows, columns, channels;
    int maps, height, width;

    __device__ unsigned length() const { return (unsigned)(crops * rows * columns * channels); }

    // Position in the maps of element i of the crops.
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

// out[n, i, j, c] = data[map, row + i, column + j, c].
extern "C" __global__ void gather_crops(int crops, int rows, int columns, int channels, int maps, int height, int width,
                                        const float* data, const float* table, float* out) {
    const unsigned i = global_thread();
    const Crops all = {crops, rows, columns, channels, maps, height, width};
    if (i >= all.length()) return;
    out[i] = data[all.source(table, i)];
}

// The finite number of half precision with these bits, exactly: in the bits of a float its exponent is 112 too small, for
// numbers below 2^-14, too, which are subnormal in both.
__device__ inline float from_half(unsigned bits) {
    const float shifted = __uint_as_float((bits & 0x8000u) << 16 | (bits & 0x7fffu) << 13);
    return shifted * 0x1p112f;
}

// The same of maps in half precision.
extern "C" __global__ void gather_crops_half(int crops, int rows, int columns, int channels, int maps, int height, int width,
                                             const unsigned short* data, const float* table, float* out) {
    const unsigned i = global_thread();
    const Crops all = {crops, rows, columns, channels, maps, height, width};
    if (i >= all.length()) return;
    out[i] = from_half(data[all.source(table, i)]);
}
