"""Save a model's parameters and buffers by path, and load them into a model that has the same paths."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minihybrid.module.header import require_header
from minihybrid.module.module import changed, pack

if TYPE_CHECKING:
    from minihybrid.module.module import Module

M = TypeVar("M", bound="Module")

FORMAT = "minihybrid-model-1"


class RecordError(ValueError):
    """A file that cannot be read or written as a model."""


@dataclass(frozen=True)
class LoadReport:
    """What a load found: paths that the file lacks, that the model lacks, and that differ in shape or dtype."""

    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every parameter and buffer was loaded, and nothing was left over."""
        return not (self.missing or self.unused or self.mismatched)


def named_arrays(model: Module) -> dict[str, Any]:
    """Parameters and buffers by path, as the model's own arrays."""
    named: dict[str, Any] = {path: param.array for path, param in model.named_params().items()}
    return named | {path: buffer.array for path, buffer in model.named_buffers().items()}


def save(model: Module, path: str | Path) -> None:
    """Write a model's parameters and buffers to a safetensors file; the model is only read.

    The file appears whole or not at all. A tied parameter is stored once, at its first path. Raises RecordError if the
    file cannot be written.

    >>> import minihybrid as mh, tempfile
    >>> model = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mh.save(model, folder + "/model.safetensors")
    ...     model, report = model.load(folder + "/model.safetensors")
    >>> report.complete
    True
    """
    from safetensors.numpy import save as to_bytes

    device = model.device
    # safetensors writes memory as it lies: anything but C order would come back scrambled. (ascontiguousarray would do,
    # but for an array of shape () it returns one of shape (1,).)
    arrays = {name: np.asarray(device.host(array), order="C") for name, array in named_arrays(model).items()}
    # One metadata entry, because safetensors writes several in random order, and equal models should give equal files.
    write_whole(Path(path), [to_bytes(arrays, {"format": f"{FORMAT} {type(model).__name__}"})])


def write_whole(path: Path, content: Iterable[Any]) -> None:
    """Write a file, given in parts, so that it appears whole or not at all, also where the power fails.

    A process that is killed leaves nothing but a file whose name begins with a dot and that of `path`. Raises
    RecordError if the system refuses.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # a temporary file is its owner's alone
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise RecordError(f"{path} cannot be written: {error.strerror or error}.") from None
        raise


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, as `fsync` of a file does for what is in it.

    Does nothing where the system has no such thing for folders, or does not let this process read them.
    """
    with suppress(PermissionError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(folder)


def _umask() -> int:
    mask = os.umask(0o077)  # there is no way to read it but to set it
    os.umask(mask)
    return mask


def load(model: M, path: str | Path) -> tuple[M, LoadReport]:
    """Read a safetensors file into a model, by path; consumes the model and returns it with a report.

    The model keeps its ids. What the file lacks, or has in another shape or dtype, stays as it was and is reported.
    Raises RecordError for a file that is no readable safetensors file; the model is then untouched.
    """
    content = read(Path(path))
    pack(model)
    arrays = named_arrays(model)
    report = LoadReport(
        missing=[name for name in arrays if name not in content],
        unused=[name for name in content if name not in arrays],
        mismatched={
            name: f"the file has {content[name].dtype} {content[name].shape}, the model {array.dtype} {array.shape}"
            for name, array in arrays.items()
            if name in content and (content[name].shape != array.shape or content[name].dtype != array.dtype)
        },
    )
    device = model.device
    for name, array in arrays.items():
        if name in content and name not in report.mismatched:
            array[...] = device.array(content[name])
    return changed(model, "load"), report


def read(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file by name; raises RecordError if there is no whole one.

    What the header declares is held against the size of the file, and limits, before the arrays are read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        if path.exists() and not path.is_file():  # to open a pipe would be to wait for whoever writes to it
            raise RecordError(f"{path} cannot be read: it is no file.")
        with path.open("rb") as file:
            require_header(file)
            file.seek(0)
            return from_bytes(file.read())
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (TypeError, AttributeError, KeyError) as error:
        raise RecordError(f"{path} holds numbers that NumPy cannot ({error}); save them as float32.") from None
    except (SafetensorError, ValueError) as error:
        # The library quotes the file, with its line breaks and whatever else a terminal would obey.
        why = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split()).rstrip(".")
        raise RecordError(f"{path} is no whole safetensors file ({why}); save it again with mh.save.") from None
