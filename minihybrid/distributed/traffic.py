"""What was sent in which phase of a run."""

from __future__ import annotations

from minihybrid.distributed.communicator import Communicator, Traffic
from minihybrid.train.events import Evaluated, Event, Stepped


class TrafficByPhase:
    """A listener that puts down what this rank has sent to the phase that it was sent in, "evaluate" among them.

    >>> from minihybrid.distributed import Alone
    >>> from minihybrid.train import Evaluation
    >>> ranks = Alone()
    >>> sent = TrafficByPhase(ranks)
    >>> ranks.traffic += Traffic(2, 1500)
    >>> sent(Evaluated(10, Evaluation(0.5)))
    >>> print(sent)
    evaluate: 2 messages, 1.5 kB
    """

    def __init__(self, ranks: Communicator) -> None:
        self._ranks = ranks
        self._before = ranks.traffic
        self.by_phase: dict[str, Traffic] = {}

    def __call__(self, event: Event) -> None:
        """Take the traffic since the last event into account."""
        if isinstance(event, Stepped | Evaluated):
            phase = event.result.phase if isinstance(event, Stepped) else "evaluate"
            now = self._ranks.traffic
            self.by_phase[phase] = self.by_phase.get(phase, Traffic()) + (now - self._before)
            self._before = now

    def __str__(self) -> str:
        return "; ".join(
            f"{phase}: {sent.messages:,} messages, {sent.bytes / 1e3:,.1f} kB" for phase, sent in self.by_phase.items()
        )
