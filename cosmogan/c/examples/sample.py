"""Generates maps of a seed as a NumPy array, through the C library.

    cargo build --release -p cosmogan-c
    python3 cosmogan/c/examples/sample.py target/release/libcosmogan_c.so cosmogan/generator/weights/generator.safetensors 16 42
"""

import ctypes
import sys

import numpy as np


class Generator:
    """A trained generator; `sample` and `generate` return arrays (N, size, size) of float32."""

    def __init__(self, library, weights, threads=0):
        self._library = ctypes.CDLL(library)
        self._library.cosmogan_map_size.restype = ctypes.c_size_t
        self._library.cosmogan_latent_width.restype = ctypes.c_size_t
        self._handle = ctypes.c_void_p()
        path, threads = str(weights).encode(), ctypes.c_size_t(threads)
        self._call("cosmogan_load", path, threads, ctypes.byref(self._handle))
        self.size = self._library.cosmogan_map_size(self._handle)
        self.latent_width = self._library.cosmogan_latent_width(self._handle)

    def __del__(self):
        self._library.cosmogan_free(self._handle)

    def sample(self, count, seed=0, first=0):
        """Returns `count` maps of a seed, from map `first` on."""
        maps, room = self._room(count)
        seed, first, count = ctypes.c_uint64(seed), ctypes.c_uint64(first), ctypes.c_size_t(count)
        self._call("cosmogan_sample", self._handle, seed, first, count, *room)
        return maps

    def generate(self, latents):
        """Returns the maps of latent vectors (N, latent_width)."""
        latents = np.ascontiguousarray(latents, np.float32).reshape(-1, self.latent_width)
        maps, room = self._room(len(latents))
        pointer = latents.ctypes.data_as(ctypes.c_void_p)
        self._call("cosmogan_generate", self._handle, pointer, ctypes.c_size_t(len(latents)), *room)
        return maps

    def _room(self, count):
        maps = np.empty((count, self.size, self.size), np.float32)
        return maps, (maps.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(maps.size))

    def _call(self, name, *arguments):
        error = ctypes.create_string_buffer(256)
        if getattr(self._library, name)(*arguments, error, ctypes.c_size_t(len(error))) != 0:
            raise ValueError(error.value.decode())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: sample.py LIBRARY WEIGHTS.safetensors COUNT SEED")
    generator = Generator(sys.argv[1], sys.argv[2])
    count, seed = int(sys.argv[3]), int(sys.argv[4])
    maps = generator.sample(count, seed).astype(np.float64)
    mean, deviation = maps.mean(), maps.std()
    size = generator.size
    print(f"{count} maps of {size} x {size}: mean {mean:.6f}, standard deviation {deviation:.6f}")
