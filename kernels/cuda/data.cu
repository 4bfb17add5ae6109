// Training data that lies on the device: batches are cut out of it where it is.
#include "index.cuh"

// out[n, i, j, c] = data[map, row + i, column + j, c], columns counted from the right where the crop is mirrored. Line n of
// the table is (map, row, column, mirrored), whole numbers in f32; a crop that would leave its map is moved inside.
extern "C" __global__ void gather_crops(int crops, int rows, int columns, int channels, int maps, int height, int width,
                                        const float* data, const float* table, float* out) {
    const unsigned i = global_thread();
    if (i >= (unsigned)(crops * rows * columns * channels)) return;
    const int channel = i % channels, pixel = i / channels;
    const int column = pixel % columns, row = pixel / columns % rows;
    const float* const line = table + pixel / columns / rows * 4;

    const int map = max(0, min((int)line[0], maps - 1));
    const int top = max(0, min((int)line[1], height - rows));
    const int left = max(0, min((int)line[2], width - columns));
    const int from = left + (line[3] != 0.0f ? columns - 1 - column : column);
    out[i] = data[(((long long)map * height + top + row) * width + from) * channels + channel];
}
