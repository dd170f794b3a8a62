"""Ranks with a GPU each: arrays go from GPU to GPU through NCCL, numbers and texts through MPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minihybrid.device import Device
from minihybrid.distributed.communicator import CommunicationError, Communicator, Traffic


class Nccl:
    """A communicator for arrays on this rank's GPU; `host`, such as `Mpi()`, carries what is not on a GPU.

    Calls on arrays are put on CuPy's current stream and return at once; they can be captured in a CUDA graph. Raises
    CommunicationError where CuPy has no NCCL.
    """

    def __init__(self, host: Communicator, device: Device) -> None:
        try:
            from cupy.cuda import nccl
        except ImportError:
            nccl = None
        if nccl is None or not nccl.available:
            raise CommunicationError(
                "CuPy finds no NCCL library; install the wheel nvidia-nccl-cu12 or nvidia-nccl-cu13 for your CUDA, or "
                "train on the CPU."
            )
        self._nccl, self._cuda, self._host = nccl, device.xp.cuda, host
        self.rank, self.size = host.rank, host.size
        self._sent = Traffic()
        invitation = host.all_gather_text(nccl.get_unique_id().hex() if host.rank == 0 else "")[0]
        with self._cuda.Device(device.index):
            self._ranks = nccl.NcclCommunicator(self.size, bytes.fromhex(invitation), self.rank)

    @property
    def traffic(self) -> Traffic:
        """See `Communicator`."""
        return self._sent + self._host.traffic

    def all_reduce(self, vector: Any) -> None:
        """See `Communicator`."""
        place, stream = vector.data.ptr, self._cuda.get_current_stream().ptr
        self._ranks.allReduce(place, place, vector.size, self._type(vector.dtype), self._nccl.NCCL_SUM, stream)
        self._sent += Traffic(1, vector.nbytes)

    def broadcast(self, vector: Any, root: int = 0) -> None:
        """See `Communicator`."""
        place, stream = vector.data.ptr, self._cuda.get_current_stream().ptr
        self._ranks.broadcast(place, place, vector.nbytes, self._nccl.NCCL_UINT8, root, stream)
        self._sent += Traffic(1, vector.nbytes)

    def all_gather(self, numbers: Sequence[float]) -> list[tuple[float, ...]]:
        """See `Communicator`."""
        return self._host.all_gather(numbers)

    def all_gather_text(self, text: str) -> list[str]:
        """See `Communicator`."""
        return self._host.all_gather_text(text)

    def barrier(self) -> None:
        """See `Communicator`; what was put on the stream is done by then."""
        self._cuda.get_current_stream().synchronize()
        self._host.barrier()

    def abort(self, code: int) -> None:
        """See `Communicator`."""
        self._host.abort(code)

    def _type(self, dtype: Any) -> int:
        types = {np.float16: "NCCL_FLOAT16", np.float32: "NCCL_FLOAT32", np.float64: "NCCL_FLOAT64"}
        try:
            return int(getattr(self._nccl, types[dtype.type]))
        except KeyError:
            raise TypeError(f"Nccl adds up float16, float32 and float64; got {dtype}.") from None
