"""Label-guided attention distillation for lane segmentation (Liu and Zhu, Neurocomputing 438, 2021).

The names in `__all__` are the public interface. Each one is imported from its module when it is first used,
so that `import lgad_pipeline` loads neither torch nor pandas nor OpenCV.

Example:
    >>> import lgad_pipeline
    >>> "LgadLoss" in dir(lgad_pipeline)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lgad_pipeline._version import __version__

if TYPE_CHECKING:
    from lgad_pipeline.config.augmentation import AugmentationConfig
    from lgad_pipeline.config.decoding import DecodeConfig
    from lgad_pipeline.config.distillation import (
        DistillationConfig,
        LogitsConfig,
        LossSchedule,
        MimickingPath,
        SadConfig,
    )
    from lgad_pipeline.config.network import NetworkSpec
    from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
    from lgad_pipeline.data.ingestion import ingest
    from lgad_pipeline.data.lane_labels import assign_lane_slots
    from lgad_pipeline.data.shards import ShardSet, pack_shards
    from lgad_pipeline.datasets.reader import AnnotationError, FrameEntry
    from lgad_pipeline.datasets.registry import register_dataset
    from lgad_pipeline.distillation.attention import attention_divergence, attention_map
    from lgad_pipeline.distillation.base import StudentForward
    from lgad_pipeline.distillation.losses import LgadLoss, LogitsLoss, SadLoss
    from lgad_pipeline.distillation.registry import RegisteredLoss, register_loss
    from lgad_pipeline.distillation.taps import FeatureTaps
    from lgad_pipeline.distillation.teacher import FrozenTeacher
    from lgad_pipeline.errors import LgadError
    from lgad_pipeline.evaluation.bootstrap import paired_f1_difference
    from lgad_pipeline.evaluation.culane import evaluate_culane
    from lgad_pipeline.evaluation.tusimple import evaluate_tusimple
    from lgad_pipeline.evaluation.types import Counts, Interval
    from lgad_pipeline.inference.frame_predictor import Lane
    from lgad_pipeline.inference.onnx_export import export_onnx
    from lgad_pipeline.inference.onnx_predictor import OnnxPredictor
    from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
    from lgad_pipeline.lanes.lane_files import Rejected
    from lgad_pipeline.networks.checkpoint import load_network
    from lgad_pipeline.networks.layers import LaneOutput
    from lgad_pipeline.networks.registry import build_network, register_network
    from lgad_pipeline.settings import Settings
    from lgad_pipeline.training.distillation_spec import DistillationSpec
    from lgad_pipeline.training.trainer import train_student, train_teacher
    from lgad_pipeline.training.training_folder import TrainingResult
    from lgad_pipeline.view import View

__all__ = [
    "AnnotationError",
    "AugmentationConfig",
    "Counts",
    "DecodeConfig",
    "DistillationConfig",
    "DistillationSpec",
    "FeatureTaps",
    "FrameEntry",
    "FrozenTeacher",
    "Interval",
    "Lane",
    "LaneOutput",
    "LanePredictor",
    "LgadError",
    "LgadLoss",
    "LogitsConfig",
    "LogitsLoss",
    "LossSchedule",
    "MimickingPath",
    "NetworkSpec",
    "OnnxPredictor",
    "OptimizerConfig",
    "RegisteredLoss",
    "Rejected",
    "SadConfig",
    "SadLoss",
    "Settings",
    "ShardSet",
    "StudentForward",
    "TrainingConfig",
    "TrainingResult",
    "View",
    "__version__",
    "assign_lane_slots",
    "attention_divergence",
    "attention_map",
    "build_network",
    "evaluate_culane",
    "evaluate_tusimple",
    "export_onnx",
    "ingest",
    "load_network",
    "pack_shards",
    "paired_f1_difference",
    "register_dataset",
    "register_loss",
    "register_network",
    "train_student",
    "train_teacher",
    "write_predictor",
]

_ORIGIN = {
    "AnnotationError": "datasets.reader:AnnotationError",
    "AugmentationConfig": "config.augmentation:AugmentationConfig",
    "Counts": "evaluation.types:Counts",
    "DecodeConfig": "config.decoding:DecodeConfig",
    "DistillationConfig": "config.distillation:DistillationConfig",
    "DistillationSpec": "training.distillation_spec:DistillationSpec",
    "FeatureTaps": "distillation.taps:FeatureTaps",
    "FrameEntry": "datasets.reader:FrameEntry",
    "FrozenTeacher": "distillation.teacher:FrozenTeacher",
    "Interval": "evaluation.types:Interval",
    "Lane": "inference.frame_predictor:Lane",
    "LaneOutput": "networks.layers:LaneOutput",
    "LanePredictor": "inference.predictor:LanePredictor",
    "LgadError": "errors:LgadError",
    "LgadLoss": "distillation.losses:LgadLoss",
    "LogitsConfig": "config.distillation:LogitsConfig",
    "LogitsLoss": "distillation.losses:LogitsLoss",
    "LossSchedule": "config.distillation:LossSchedule",
    "MimickingPath": "config.distillation:MimickingPath",
    "NetworkSpec": "config.network:NetworkSpec",
    "OnnxPredictor": "inference.onnx_predictor:OnnxPredictor",
    "OptimizerConfig": "config.training:OptimizerConfig",
    "RegisteredLoss": "distillation.registry:RegisteredLoss",
    "Rejected": "lanes.lane_files:Rejected",
    "SadConfig": "config.distillation:SadConfig",
    "SadLoss": "distillation.losses:SadLoss",
    "Settings": "settings:Settings",
    "ShardSet": "data.shards:ShardSet",
    "StudentForward": "distillation.base:StudentForward",
    "TrainingConfig": "config.training:TrainingConfig",
    "TrainingResult": "training.training_folder:TrainingResult",
    "View": "view:View",
    "assign_lane_slots": "data.lane_labels:assign_lane_slots",
    "attention_divergence": "distillation.attention:attention_divergence",
    "attention_map": "distillation.attention:attention_map",
    "build_network": "networks.registry:build_network",
    "evaluate_culane": "evaluation.culane:evaluate_culane",
    "evaluate_tusimple": "evaluation.tusimple:evaluate_tusimple",
    "export_onnx": "inference.onnx_export:export_onnx",
    "ingest": "data.ingestion:ingest",
    "load_network": "networks.checkpoint:load_network",
    "pack_shards": "data.shards:pack_shards",
    "paired_f1_difference": "evaluation.bootstrap:paired_f1_difference",
    "register_dataset": "datasets.registry:register_dataset",
    "register_loss": "distillation.registry:register_loss",
    "register_network": "networks.registry:register_network",
    "train_student": "training.trainer:train_student",
    "train_teacher": "training.trainer:train_teacher",
    "write_predictor": "inference.predictor:write_predictor",
}
"""Module and name of each public object, below this package."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _ORIGIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _ORIGIN[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
