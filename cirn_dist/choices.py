"""The named choices of a configuration, each told once: the schema offers them, the code acts on them."""

from __future__ import annotations

from typing import Literal

# tests/unit/test_choices.py tries them in the code that acts on them.
BackboneName = Literal["resnet101", "resnet101_caffe", "resnet50", "resnet34", "resnet18", "mobilenet_v2", "tiny"]
Joining = Literal["daformer", "segformer"]
Head = Literal["aspp", Joining]
NormMode = Literal["sync", "batch", "frozen"]
Norm = Literal["auto", NormMode]
Codec = Literal["jpeg95", "png", "webp"]
LabelSize = Literal["image", "original"]
Appearance = Literal["synthetic", "photo"]

Precision = Literal["fp32", "bf16", "fp16", "fp64"]
AskedPrecision = Literal["auto", Precision]
RenderPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Backend = Literal["ddp", "exact", "deepspeed"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]  # torch.compile's
TrackerName = Literal["tensorboard", "wandb"]
LrScaling = Literal["auto", "none", "sqrt", "linear"]

SegmenterOptimizer = Literal["sgd", "adamw"]
Optimizer = Literal["adam", SegmenterOptimizer]  # CycleGAN and the discriminators have Adam
Init = Literal["pretrained", "source", "cir", "adapt"]  # what a stage starts from: ImageNet, or a stage before it
CirMethod = Literal["cyclegan", "fda", "reinhard", "shards"]
FdaWindow = Literal["symmetric", "authors"]
Gan = Literal["lsgan", "vanilla"]
SemanticTarget = Literal["ground_truth", "argmax", "logits"]
Upsampling = Literal["transposed", "resize"]
Shown = Literal["softmax", "selfinfo"]
AcmStart = Literal["random", "classifier"]
SegOn = Literal["separate", "sum"]
PseudoLabelRule = Literal["bdl", "crst", "iast", "fixed"]
SelfTrainMethod = Literal["offline", "online"]
Mixing = Literal["class", "none"]
