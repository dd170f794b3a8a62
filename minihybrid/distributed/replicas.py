"""Replicas are equal to the bit: made so at the start, and compared now and then."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from minihybrid.distributed.communicator import CommunicationError, Communicator
from minihybrid.module.module import Module, pack
from minihybrid.rng import Rng


def require_same_settings(ranks: Communicator, settings: Mapping[str, Any]) -> None:
    """Raise CommunicationError, on all ranks, unless they were all started with the same settings, for JSON.

    >>> from minihybrid.distributed import Alone
    >>> require_same_settings(Alone(), {"lr": 0.1, "version": "1.0"})
    """
    texts = ranks.all_gather_text(json.dumps(settings, sort_keys=True, default=str))
    first = json.loads(texts[0])
    for rank, text in enumerate(texts):
        other = json.loads(text)
        for name in sorted(first.keys() | other.keys()):
            if (mine := first.get(name)) != (theirs := other.get(name)):
                raise CommunicationError(
                    f"rank 0 has {name} = {mine!r}, rank {rank} has {theirs!r}; start all ranks with the same command, "
                    "package and data."
                )


def make_equal(ranks: Communicator, model: Module) -> None:
    """Give every rank the parameters and buffers of rank 0, in place.

    Raises CommunicationError, on all ranks, for models with other paths, shapes or dtypes.
    """
    arrays = {path: param.array for path, param in model.named_params().items()}
    arrays |= {path: buffer.array for path, buffer in model.named_buffers().items()}
    require_same_settings(ranks, {path: f"{array.dtype} {array.shape}" for path, array in arrays.items()})
    storage = pack(model)
    ranks.broadcast(storage.values)
    for buffer in model.named_buffers().values():
        value = buffer.array.copy(order="C")
        ranks.broadcast(value)
        buffer.array[...] = value
    storage.advance("the start of a distributed run")


def part_streams(ranks: Communicator, streams: Iterable[Rng]) -> None:
    """Give random streams that are alike on all ranks a key of each rank's own; rank 0 keeps its. Twice, it is undone.

    >>> from minihybrid.distributed import Alone
    >>> part_streams(Alone(), [rng := Rng(0)])
    >>> rng.state() == Rng(0).state()
    True
    """
    for rng in streams:
        state = rng.state()
        state["key"][1] ^= ranks.rank
        rng.load_state(state)


def require_equal(ranks: Communicator, model: Module) -> None:
    """Raise CommunicationError, on all ranks, unless they hold the same parameters; it names the first that differs.

    One checksum (CRC-32) of each rank is compared, and those of all parameters only where these differ.
    """
    storage = pack(model)
    sums = ranks.all_gather([_checksum(storage.device.host(storage.values))])
    if len(set(sums)) == 1:
        return
    params = model.named_params()
    by_rank = ranks.all_gather([_checksum(storage.device.host(param.array)) for param in params.values()])
    for path, of_param in zip(params, zip(*by_rank, strict=True), strict=True):
        for rank, checksum in enumerate(of_param):
            if checksum != of_param[0]:
                raise CommunicationError(
                    f"the replicas have parted: {path} is another on rank {rank} than on rank 0. Something in the "
                    "training depends on the rank: a decision by the clock or by the rank's own batch, a random "
                    "stream, or processors of different kinds."
                )


def _checksum(array: Any) -> int:
    return zlib.crc32(array.tobytes())
