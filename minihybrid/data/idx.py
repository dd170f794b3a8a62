"""The IDX file format, in which MNIST and its kin are published: a magic number, the sizes, the bytes.

Source: the format description on the MNIST page of LeCun, Cortes and Burges: two zero bytes, a type code, the number
of dimensions, each dimension as a big-endian 32-bit integer, then the values, big-endian, last index fastest.
"""

import gzip
import math
import os
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from minihybrid.data.dataset import DataError

__all__ = ["MAX_BYTES", "read_idx"]

MAX_BYTES = 2**30
"""What a file may unpack to unless the caller allows more; MNIST's largest has 47 MB."""
MOST_PACKED = 1032
"""How many bytes one byte of a gzip file can become: two bits of deflate (RFC 1951) stand for 258 bytes at most."""

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_MAX_DIMS = 8
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """The array in an IDX file, gzipped or plain, in the byte order of this machine.

    The size that the header declares is held against `max_bytes`, and against the size of the file, before any memory
    is asked for, and that much (for values of several bytes, twice that much) is all that is needed. Raises
    `DataError`, which names the file, if it cannot be read, is no IDX file, declares too much, or holds less or more
    than it declares.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "two-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 5]))
    ...     read_idx(path)
    array([3, 5], dtype=uint8)
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would be to wait for whoever writes to it
            raise DataError(f"{path} cannot be read: it is no file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Told by its first bytes, not by its name: browsers unpack files and leave the .gz in place.
            if file.peek(2)[:2] == b"\x1f\x8b":
                return _parse(cast(BinaryIO, gzip.GzipFile(fileobj=file)), path, size * MOST_PACKED, max_bytes)
            return _parse(file, path, size, max_bytes)
    except DataError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"the gzip file {path} is damaged or cut short ({error}): fetch it again") from None
    except OSError as error:
        raise DataError(f"the file {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a path with a null character
        raise DataError(f"the file {str(path)!r} cannot be read: {error}") from None


def _parse(stream: BinaryIO, path: Path, most: int, max_bytes: int) -> NDArray[Any]:
    """The array in a stream, which cannot hold more than `most` bytes and may not more than `max_bytes`."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= _MAX_DIMS:
        raise DataError(
            f"the file {path} is no IDX file: it begins with the bytes [{magic.hex(' ')}], expected 00 00, a type code "
            f"({', '.join(f'{code:02x}' for code in _DTYPES)}) and 1 to {_MAX_DIMS} dimensions"
        )
    dtype, ndim = _DTYPES[magic[2]], magic[3]
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"the file {path} ends inside its IDX header: fetch it again")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    declared = math.prod(shape) * dtype.itemsize
    if declared > max_bytes:
        raise DataError(
            f"the file {path} declares {dtype.name} {list(shape)}, {declared} bytes, above the limit of {max_bytes}: "
            "it is damaged, or the limit must be raised"
        )
    if declared > most:  # asked of the stream, so many bytes would take so much memory, also where there are few
        raise DataError(
            f"the file {path} declares {dtype.name} {list(shape)}, {declared} bytes of values, which a file of its "
            "size cannot hold: fetch it again"
        )
    values = np.empty(declared, np.uint8)
    read = _fill(values, stream)
    if read < declared or stream.read(1):  # at its end a gzip file is checked
        holds = f"only {read}" if read < declared else "more"
        raise DataError(
            f"the file {path} declares {dtype.name} {list(shape)}, {declared} bytes of values, but holds {holds}: "
            "fetch it again"
        )
    try:
        return values.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except ValueError:  # nothing, times sizes that no array can have
        raise DataError(f"the file {path} declares {dtype.name} {list(shape)}, which no array can be") from None


def _fill(values: NDArray[np.uint8], stream: BinaryIO) -> int:
    """Read into an array until it is full or the stream ends; the number of bytes read."""
    done = 0
    while chunk := stream.read(min(_CHUNK, len(values) - done)):
        values[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    return done
