#!/usr/bin/env python3
# Statistics of a network's weights, layer by layer, from its safetensors file; no package is needed.

import argparse
import array
import csv
import json
import math
import pathlib
import struct
import sys


def tensors(path):
    # A safetensors file: the length of the header, the header as JSON, the tensors' bytes.
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for name, tensor in header.items():
        if name == "__metadata__" or tensor["dtype"] != "F32":
            continue
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        values = array.array("f", content[begin:end])
        if sys.byteorder == "big":
            values.byteswap()
        yield name, tensor["shape"], values


def statistics(values, small):
    count = len(values)
    mean = math.fsum(values) / count
    return {
        "count": count,
        "zero": sum(value == 0 for value in values) / count,
        "small": sum(abs(value) < small for value in values) / count,
        "std": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / count),
        "largest": max(abs(value) for value in values),
    }


def main():
    parser = argparse.ArgumentParser(description="Weight statistics of a safetensors file.")
    parser.add_argument("network")
    parser.add_argument("--small", type=float, required=True, help="weights below this are small")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()

    # Weights have two dimensions or more; biases and normalisation have one.
    weights = [(name, values) for name, shape, values in tensors(args.network) if len(shape) > 1]
    layers = {name: statistics(values, args.small) for name, values in weights}
    everything = array.array("f")
    for _, values in weights:
        everything.extend(values)

    with open(args.out / "layers.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["layer", "count", "zero", "small", "std", "largest"])
        for name, layer in layers.items():
            table.writerow([name, *layer.values()])

    with open(args.out / "metrics.jsonl", "w") as file:
        layers["all"] = statistics(everything, args.small)
        for name, layer in layers.items():
            for what in ["zero", "small", "std", "largest"]:
                print(json.dumps({"name": f"{name}/{what}", "value": layer[what]}), file=file)

    print(f"{len(weights)} layers, {layers['all']['count']} weights")


main()
