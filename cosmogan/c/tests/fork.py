"""Children that fork while another thread of the parent is inside a call go on using the parent's generator.

    python3 fork.py LIBRARY WEIGHTS.safetensors

A child that waits for a thread of its parent would wait for ever; an alarm ends it.
"""

import ctypes
import os
import signal
import sys
import threading
import time

COUNT, SEED, ERRORS = 64, 42, 200


def main(library_path, weights):
    library = ctypes.CDLL(library_path)
    library.cosmogan_load.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
    ]
    library.cosmogan_sample.argtypes = [
        ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_char_p, ctypes.c_size_t,
    ]
    library.cosmogan_map_size.argtypes = [ctypes.c_void_p]
    library.cosmogan_map_size.restype = ctypes.c_size_t
    for threads in (1, 2, 4):
        generator, error = ctypes.c_void_p(), ctypes.create_string_buffer(ERRORS)
        if library.cosmogan_load(weights.encode(), threads, ctypes.byref(generator), error, ERRORS):
            sys.exit(error.value.decode())
        room = COUNT * library.cosmogan_map_size(generator) ** 2

        def sample():
            maps, message = (ctypes.c_float * room)(), ctypes.create_string_buffer(ERRORS)
            return library.cosmogan_sample(generator, SEED, 0, COUNT, maps, room, message, ERRORS)

        stopped = threading.Event()

        def loop():
            while not stopped.is_set():
                sample()

        busy = threading.Thread(target=loop)
        busy.start()
        time.sleep(0.05)
        try:
            for attempt in range(6):
                child = os.fork()
                if child == 0:
                    signal.alarm(10)
                    os._exit(sample())
                status = os.waitpid(child, 0)[1]
                if status:
                    sys.exit(f"{threads} threads: a child ended with status {status}")
                time.sleep(0.003 * attempt)
        finally:
            stopped.set()
            busy.join()
    print("children of a busy parent make maps")


if __name__ == "__main__":
    main(*sys.argv[1:])
