"""A decoder that really dies, hangs or eats memory on files with telling names; otherwise the real one.

Started as `python dying_decoder.py SYS_PATH MARK=HOW...`: a file whose name contains MARK ends the process by HOW.
"""

import ctypes
import json
import os
import signal
import sys


def suffer(how: str) -> None:
    if how == "segv":
        ctypes.string_at(1)  # a read of an address that is not mapped, within C
    elif how == "abort":
        os.abort()  # what C++ libraries do where memory runs out
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does where memory runs out
    elif how == "hang":
        ctypes.PyDLL(None).pause()  # within C and with the interpreter's lock held, as a codec in a loop
        while True:
            pass
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "memory":
        import numpy as np

        held = []
        while True:
            held.append(np.ones(8 * 2**20, np.uint8))
    elif how == "bug":
        raise ZeroDivisionError("a reader's mistake")
    elif how == "noise":
        os.write(1, b"libfoo warning: " * 1000)  # a library that prints
    elif how.startswith("once:"):
        flag = os.open(how.removeprefix("once:"), os.O_CREAT | os.O_APPEND | os.O_RDWR)
        first = os.fstat(flag).st_size == 0
        os.write(flag, b"x")
        if first:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    sys.path[:] = json.loads(sys.argv[1])
    from locatlas.indexer.files import decoder_worker, images

    fates = dict(argument.split("=", 1) for argument in sys.argv[2:])
    real = images.read_image

    def read_image(record):
        for mark, how in fates.items():
            if mark in record.sources[0].path.name:
                suffer(how)
        return real(record)

    images.read_image = read_image
    decoder_worker.main()


if __name__ == "__main__":
    main()
