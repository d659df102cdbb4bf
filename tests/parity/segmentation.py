"""Segmentation networks in PyTorch, with the names that graftwork gives their parameters."""

import torch
from torch import nn
from torch.nn import functional
from torchvision import models


def build(name: str, classes: int) -> nn.Module:
    """The network that exchange.py has under a name."""
    if name == "unet":
        return Unet(channels=6, depth=3, classes=classes)
    if name == "fcn8s":
        return Fcn8s(channels=4, hidden=12, classes=classes)
    return FcnResnet50(classes)


class Unet(nn.Module):
    """Ronneberger et al. 2015 with padding and batch normalisation; what halving lost comes back by interpolation."""

    def __init__(self, channels: int, depth: int, classes: int):
        super().__init__()
        self.depth = depth
        inputs = 3
        for level in range(depth):
            self.add_module(f"down{level + 1}", convolutions(inputs, channels << level))
            inputs = channels << level
        self.bottom = convolutions(inputs, 2 * inputs)
        for level in reversed(range(depth)):
            outputs = channels << level
            up = convolutions(2 * outputs, outputs)
            up.add_module("up", nn.ConvTranspose2d(2 * outputs, outputs, 2, stride=2))
            self.add_module(f"up{level + 1}", up)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for level in range(self.depth):
            x = twice(self.get_submodule(f"down{level + 1}"), x)
            levels.append(x)
            x = functional.max_pool2d(x, 2)
        x = twice(self.bottom, x)
        for level, skip in reversed(list(enumerate(levels))):
            up = self.get_submodule(f"up{level + 1}")
            x = fitted(up.up(x), skip)
            x = twice(up, torch.cat([skip, x], 1))
        return self.classifier(x)


def convolutions(inputs: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({
        "conv1": nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(outputs),
        "conv2": nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(outputs),
    })


def twice(layers: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = functional.relu(layers.bn1(layers.conv1(x)))
    return functional.relu(layers.bn2(layers.conv2(x)))


def fitted(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """As large as another image."""
    size = other.shape[-2:]
    return x if x.shape[-2:] == size else functional.interpolate(x, size, mode="bilinear")


class Fcn8s(nn.Module):
    """Long et al. 2015 on VGG-16: scores of an eighth of the size, added to enlarged ones of coarser layers."""

    def __init__(self, channels: int, hidden: int, classes: int):
        super().__init__()
        layers, inputs = [], 3
        for run, count in enumerate((2, 2, 3, 3, 3)):
            outputs = channels << min(run, 3)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, classes, 1)
        for pool, outputs in (("pool4", channels << 3), ("pool3", channels << 2)):
            self.add_module(f"score_{pool}", nn.Conv2d(outputs, classes, 1))
        for up in ("upscore2", "upscore_pool4"):
            self.add_module(up, nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, groups=classes, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, pools = x.shape[-2:], []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        x = functional.relu(self.fc7(functional.relu(self.fc6(x))))
        scores = self.score_fr(x)
        scores = fitted(self.upscore2(scores), pools[3]) + self.score_pool4(pools[3])
        scores = fitted(self.upscore_pool4(scores), pools[2]) + self.score_pool3(pools[2])
        return functional.interpolate(scores, size, mode="bilinear")


class FcnResnet50(nn.Module):
    """torchvision's, whose answer is a dictionary."""

    def __init__(self, classes: int):
        super().__init__()
        model = models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=classes)
        self.backbone, self.classifier = model.backbone, model.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.classifier(self.backbone(x)["out"])
        return functional.interpolate(scores, x.shape[-2:], mode="bilinear")
