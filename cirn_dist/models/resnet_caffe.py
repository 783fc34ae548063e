"""The ResNet of the DeepLab-v2 lineage: Caffe's layout of torchvision's network.

Two differences decide whether the lineage's checkpoints mean the same: a bottleneck's stride is in its first 1x1
convolution instead of the 3x3, and the pooling rounds sizes up (1280x720 gives 161x91 features instead of 160x90).
"""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet101
from torchvision.models.resnet import Bottleneck


def resnet101_caffe() -> nn.Module:
    """Build torchvision's ResNet-101 in Caffe's layout, convolutions N(0, 0.01), same parameter names."""
    net: nn.Module = resnet101(weights=None)
    net.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)
    for module in net.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
    return net
