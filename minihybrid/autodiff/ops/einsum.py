"""Einstein summation: any product of arrays, written by naming their axes."""

from __future__ import annotations

from collections import Counter
from string import ascii_letters
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands
from minihybrid.autodiff.tensor import Tensor


def _gradient(g: Any, i: int, subscripts: str, tensors: tuple[Any, ...]) -> Any:
    """An einsum like the one it belongs to, with g in the place of tensor i and that tensor's axes as the result.

    An axis that tensor i alone has was summed, and comes back as a product with ones; one that it has twice was a
    diagonal, and comes back as a product with the identity.
    """
    inputs, output = _terms(subscripts)
    labels, shape = inputs.pop(i), tensors[i].shape
    factors, known = [g, *tensors[:i], *tensors[i + 1 :]], {*output, *"".join(inputs)}
    inputs = [output, *inputs]
    like = g.array if isinstance(g, Tensor) else g
    unused = iter(sorted(set(ascii_letters) - known - set(labels)))
    wanted = ""
    for label, n in zip(labels, shape, strict=True):
        ones = np.ones_like(like, shape=(n,))
        if label in wanted:
            again = next(unused)
            inputs.append(label + again)
            factors.append(np.diag(ones))
            wanted += again
            continue
        wanted += label
        if label not in known:
            inputs.append(label)
            factors.append(ones)
    return _einsum(f"{','.join(inputs)}->{wanted}", *factors)


@op(tensors=_gradient)
def _einsum(subscripts: str, *tensors: Any) -> Any:
    # Planning pays for itself from some hundred elements on: then the products run as matrix products.
    large = max(tensor.size for tensor in tensors) > 500
    return np.einsum(subscripts, *tensors, optimize=large)


def einsum(subscripts: Any, *operands: Any) -> Any:
    """The sum over all labels that the result does not name, of the products of the operands' elements.

    `subscripts` is NumPy's: "ij,jk->ik"; without an arrow the result has the labels that occur once, in alphabetical
    order; "..." stands for further axes, which broadcast; a label twice in one operand takes its diagonal. NumPy's
    other form, einsum(x, [0, 1], y, [1, 2], [0, 2]), works too. Raises ValueError for subscripts that do not fit.

    >>> import minihybrid as mh
    >>> x = mh.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> mh.einsum("ij,ij->i", x, x).tolist(), mh.einsum("ii", x).item()
    ([5.0, 25.0], 5.0)
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists(subscripts, *operands)
    operands = as_operands("einsum", *operands)
    return _einsum(_explicit(subscripts, [operand.shape for operand in operands]), *operands)


def _terms(subscripts: str) -> tuple[list[str], str]:
    left, _, output = subscripts.partition("->")
    return left.split(","), output


def _from_lists(*arguments: Any) -> tuple[str, tuple[Any, ...]]:
    """Text and operands, from operand, labels, operand, labels, ... and perhaps the labels of the result."""

    def text(labels: Any) -> str:
        return "".join("..." if label is Ellipsis else ascii_letters[label] for label in labels)

    count = len(arguments) // 2
    subscripts = ",".join(text(labels) for labels in arguments[1 : 2 * count : 2])
    if len(arguments) % 2:
        subscripts += "->" + text(arguments[-1])
    return subscripts, arguments[: 2 * count : 2]


def _explicit(subscripts: str, shapes: list[tuple[int, ...]]) -> str:
    """The subscripts with letters in the place of "..." and with the result spelled out; raises if they do not fit."""

    def wrong(reason: str) -> ValueError:
        came = ", ".join(str(shape) for shape in shapes)
        return ValueError(f"einsum: {reason}. It was called with {subscripts!r} and operands of shape {came}.")

    text = subscripts.replace(" ", "")
    inputs, output = _terms(text)
    if strange := set(text.replace("...", "").replace("->", "")) - {*ascii_letters, ","}:
        raise wrong(f"{sorted(strange)[0]!r} is no label; labels are letters, separated by ',' and '->'")
    if len(inputs) != len(shapes):
        raise wrong(f"there are {len(inputs)} terms for {len(shapes)} operands; write one term for each")
    unused = sorted(set(ascii_letters) - set(text))
    further = [len(shape) - len(term.replace("...", "")) for term, shape in zip(inputs, shapes, strict=True)]
    for term, more, shape in zip(inputs, further, shapes, strict=True):
        if more < 0 or (more and "..." not in term):
            raise wrong(
                f"the term {term!r} does not name the {len(shape)} axes of its operand; '...' stands for the rest"
            )
    most = max((more for term, more in zip(inputs, further, strict=True) if "..." in term), default=0)
    dots = "".join(unused[:most])
    inputs = [term.replace("...", dots[most - more :]) for term, more in zip(inputs, further, strict=True)]
    if "->" not in text:
        count = Counter("".join(inputs))
        output = dots + "".join(sorted(label for label in count if count[label] == 1 and label not in dots))
    elif most and "..." not in output:
        raise wrong("the operands have further axes ('...') that the result does not name; add '...' to it")
    else:
        output = output.replace("...", dots)
    lengths: dict[str, int] = {}
    for term, shape in zip(inputs, shapes, strict=True):
        for label, n in zip(term, shape, strict=True):
            if lengths.setdefault(label, n) == 1:
                lengths[label] = n
            if n not in (1, lengths[label]):
                raise wrong(f"{_called(label, dots)} has length {lengths[label]} in one place and {n} in another")
    if unknown := [label for label in output if label not in lengths]:
        raise wrong(f"the result names {unknown[0]!r}, which no operand has")
    if len(set(output)) < len(output):
        raise wrong("the result names a label twice; each of its axes needs a label of its own")
    return ",".join(inputs) + "->" + output


def _called(label: str, dots: str) -> str:
    return "an axis of '...'" if label in dots else f"the label {label!r}"
