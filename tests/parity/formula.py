"""Values that any program can repeat exactly, so that no weights need to be stored.

The number at `index` of the tensor `name` comes from u = fmix32(index · 0x9E3779B9 + fnv(name)) / 2³²,
where fmix32 is the last step of MurmurHash3, fnv is FNV-1a of 32 bits, and all arithmetic is modulo 2³². In 64-bit floating point,
then rounded to 32 bits:

    running_var                 0.5 + u
    running_mean, bias          0.2 · u − 0.1
    weight of a normalisation   0.75 + 0.5 · u
    any other weight            (2u − 1) · √(6 / fan_in), fan_in = values of an output channel
    num_batches_tracked         0
    input                       2u − 1
"""

import functools
import math

import numpy
import torch


def uniform(name: str, count: int) -> numpy.ndarray:
    """`count` numbers in 0..1, 64-bit."""
    bits = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B9)
    bits += numpy.uint32(fnv(name))
    bits ^= bits >> numpy.uint32(16)
    bits *= numpy.uint32(0x85EBCA6B)
    bits ^= bits >> numpy.uint32(13)
    bits *= numpy.uint32(0xC2B2AE35)
    bits ^= bits >> numpy.uint32(16)
    return bits / 2.0**32


def fnv(name: str) -> int:
    """FNV-1a of 32 bits."""
    step = lambda state, byte: (state ^ byte) * 16777619 % 2**32
    return functools.reduce(step, name.encode(), 2166136261)


def values(name: str, shape: torch.Size) -> torch.Tensor:
    """The tensor of a name."""
    u = uniform(name, math.prod(shape))
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        u = 0.5 + u
    elif last in ("running_mean", "bias"):
        u = 0.2 * u - 0.1
    elif last == "weight" and len(shape) == 1:
        u = 0.75 + 0.5 * u
    elif last == "weight":
        u = (2 * u - 1) * math.sqrt(6 / math.prod(shape[1:]))
    elif name == "input":
        u = 2 * u - 1
    else:
        raise ValueError(f"there is no formula for `{name}`")
    return torch.from_numpy(u.astype(numpy.float32)).reshape(shape)


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """The same network with the formula's parameters and buffers, ready to be evaluated."""
    model.load_state_dict({name: values(name, tensor.shape) for name, tensor in model.state_dict().items()})
    return model.eval()
