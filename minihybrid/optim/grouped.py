"""Different rules for different parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from minihybrid.autodiff.storage import Storage
from minihybrid.module.module import Module, pack
from minihybrid.optim.optimizer import Optimizer, require


class Grouped(Optimizer):
    """An optimizer for each group of parameters, by path pattern: a parameter belongs to the first that matches.

    `groups` maps patterns (`*` and `?` match within and across dots) to optimizers, or to pairs (optimizer, factor)
    whose learning rate is lr times the factor. Raises ValueError at the first step if a parameter matches no pattern,
    or a pattern is the first match of no parameter.

    >>> import minihybrid as mh
    >>> optim = mh.optim.Grouped({"*.bias": mh.optim.SGD(), "*": (mh.optim.AdamW(), 0.1)})
    """

    def __init__(self, groups: Mapping[str, Optimizer | tuple[Optimizer, float]]) -> None:
        super().__init__()
        require(len(groups) > 0, "Grouped", "groups", groups, "at least one pattern with its optimizer")
        self.groups = {p: (o, 1.0) if isinstance(o, Optimizer) else (o[0], float(o[1])) for p, o in groups.items()}
        for pattern, (_, factor) in self.groups.items():
            require(factor >= 0, "Grouped", f"the factor of {pattern!r}", factor, "a number that is not negative")
        self._owners: list[str] = []  # the pattern of each slot
        self._laid_out: Storage | None = None

    def check(self, model: Module, present: list[bool]) -> None:
        """What is said in the class, and what each group's optimizer cannot update."""
        storage = pack(model)
        if storage is not self._laid_out:
            owners = [self._pattern(path) for path in model.named_params()]
            for pattern in self.groups:
                if pattern not in owners:
                    raise ValueError(
                        f"Grouped: the pattern {pattern!r} is the first match of no parameter of this "
                        f"{type(model).__name__}; its parameters are {list(model.named_params())}."
                    )
            self._owners, self._laid_out = owners, storage
        for optimizer, _, mine in self._shares(present):
            optimizer.check(model, mine)

    def apply(self, lr: float, model: Module, gradient: Any, present: list[bool]) -> None:
        """Let each group's optimizer update its parameters."""
        for optimizer, factor, mine in self._shares(present):
            optimizer.apply(lr * factor, model, gradient, mine)

    def parts(self) -> Iterator[Optimizer]:
        """The parts of each group's optimizer; itself, it keeps nothing."""
        for optimizer, _ in self.groups.values():
            yield from optimizer.parts()

    def translate(self, delta: Any) -> None:
        """Each group's optimizer keeps positions of its own parameters."""
        for optimizer, _ in self.groups.values():
            optimizer.translate(delta)

    def coasted(self, lr: float, weights: Any, steps: int) -> Any:
        """Each group's optimizer moves its own parameters."""
        for optimizer, factor in self.groups.values():
            weights = optimizer.coasted(lr * factor, weights, steps)
        return weights

    def _shares(self, present: list[bool]) -> Iterator[tuple[Optimizer, float, list[bool]]]:
        for pattern, (optimizer, factor) in self.groups.items():
            mine = [here and owner == pattern for here, owner in zip(present, self._owners, strict=True)]
            if any(mine):
                yield optimizer, factor, mine

    def _pattern(self, path: str) -> str:
        for pattern in self.groups:
            if fnmatchcase(path, pattern):
                return pattern
        raise ValueError(f"Grouped: the parameter {path} matches none of {list(self.groups)}; add '*' for the rest.")

    def read_into(self, storage: Storage) -> None:
        """Each group's optimizer knows what it has stepped."""
        for optimizer, _ in self.groups.values():
            optimizer.read_into(storage)

    def state(self) -> dict[str, Any]:
        """The state of each group's optimizer, by pattern."""
        return {pattern: optimizer.state() for pattern, (optimizer, _) in self.groups.items()}

    def load_state(self, state: dict[str, Any], model: Module | None = None) -> None:
        """Continue from a `state`; raises ValueError for other patterns, and whatever a group's optimizer raises."""
        if state.keys() != self.groups.keys():
            raise ValueError(f"Grouped: the patterns are {list(self.groups)}, the state has {list(state)}.")
        before = self.state()
        try:
            for pattern, (optimizer, _) in self.groups.items():
                optimizer.load_state(state[pattern], model)
        except ValueError:
            for pattern, (optimizer, _) in self.groups.items():
                optimizer.load_state(before[pattern], model)
            raise

    def snapshot(self) -> dict[str, Any]:
        """The state of each group's optimizer, by pattern, for `restore`."""
        return {pattern: optimizer.snapshot() for pattern, (optimizer, _) in self.groups.items()}

    def restore(self, snapshot: dict[str, Any], model: Module | None = None) -> None:
        """Return to a `snapshot`, to the bit."""
        self._require_like(snapshot, model)
        for pattern, (optimizer, _) in self.groups.items():
            optimizer.restore(snapshot[pattern], model)

    def _require_like(self, snapshot: dict[str, Any], model: Module | None) -> None:
        if snapshot.keys() != self.groups.keys():
            raise ValueError(f"Grouped: the patterns are {list(self.groups)}, the snapshot has {list(snapshot)}.")
        for pattern, (optimizer, _) in self.groups.items():
            optimizer._require_like(snapshot[pattern], model)
