"""Processes that train together: what they say to each other, over MPI or NCCL, and what it costs."""

from minihybrid.distributed.communicator import (
    Alone as Alone,
    CommunicationError as CommunicationError,
    Communicator as Communicator,
    SharedStop as SharedStop,
    Traffic as Traffic,
    ending_together as ending_together,
)
from minihybrid.distributed.mpi import Mpi as Mpi
from minihybrid.distributed.nccl import Nccl as Nccl
from minihybrid.distributed.replicas import (
    make_equal as make_equal,
    part_streams as part_streams,
    require_equal as require_equal,
    require_same_settings as require_same_settings,
)
from minihybrid.distributed.scores import evaluate_together as evaluate_together
from minihybrid.distributed.shard import Shard as Shard
from minihybrid.distributed.traffic import TrafficByPhase as TrafficByPhase
