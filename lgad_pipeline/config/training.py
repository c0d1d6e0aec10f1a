"""Settings of a training: steps, optimizer, losses, precision and logging."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lgad_pipeline.config.base import BaseConfig, LaterKeysConfig

Precision = Literal["auto", "32-true", "bf16-mixed"]

WITHOUT_EFFECT = frozenset(
    {
        "log_every",
        "validate_every",
        "validation_frames",
        "checkpoint_seconds",
        "loader_threads",
        "cuda_graphs",
    }
)
"""Keys of `TrainingConfig` that cannot change the trained weights, and so are not part of its fingerprint."""


class OptimizerConfig(BaseConfig):
    """Optimizer and learning-rate schedule.

    Attributes:
        name: `adamw`, or `sgd` with Nesterov momentum (the published CULane recipes).
        learning_rate: highest learning rate.
        weight_decay: decoupled for adamw, an L2 penalty for sgd; not applied to parameters of one dimension
            (normalization layers, slopes of PReLU, biases).
        momentum: momentum of sgd, beta 1 of adamw.
        schedule: `one_cycle`, half a cosine up and half a cosine down, or `poly`, linear up and down by
            (1 - progress)^0.9.
        warmup_steps: number of steps in which the learning rate rises.
        gradient_clip: highest norm of all gradients together, or None for no clipping.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Literal["one_cycle", "poly"] = "one_cycle"
    warmup_steps: int = Field(default=100, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)


class TrainingConfig(LaterKeysConfig):
    """Settings of the training of one network, teacher or student.

    Attributes:
        steps: number of optimizer steps.
        batch_size: number of frames per step.
        seed: seed of the initial weights, the batches, their augmentation and dropout.
        shuffle_window: number of shards whose frames are mixed in the batches at a time, for data sets that
            do not fit the disk (`shard_cache_gb`): a shard is downloaded once per epoch; None for all.
        optimizer: optimizer and learning-rate schedule.
        background_weight: weight of the background class in the cross entropy (SCNN: 0.4).
        iou_weight: weight of the soft IoU loss (ENet-SAD: 0.1).
        existence_weight: weight of the existence loss (SCNN: 0.1).
        lane_type_weight: weight of the loss of the types of lanes, if the data set names `lane_types`.
        ema_decay: decay of the averaged weights, which are saved; 0 to save the weights of the last step.
        threads: number of CPU threads per operation; None for torch's choice. Small images: 1 is fastest.
        precision: `32-true`; `bf16-mixed` for bfloat16 autocast; or `auto` for the latter on devices that
            compute bfloat16 natively (CUDA 8.0 and later, CPUs with AMX or AVX512-BF16), else the former.
        accumulation: number of equal parts of a batch that are computed one after another, with less memory.
            Batch norms have the statistics of a part, and each loss is the mean over the parts of its values:
            the sums in the soft IoU and the weights of pixels, slots and frames are those of a part.
        compile: True to compile the network by torch.compile; results differ by rounding.
        cuda_graphs: True to launch the kernels of a step as one CUDA graph; no effect on a CPU.
        sync_batch_norm: True for batch-norm statistics of the whole batch on several devices, so that the
            result does not depend on their number but for dropout masks and rounding; False for those of each
            device's part.
        loader_threads: number of threads that decode and augment batches in advance.
        log_every: steps between two log entries; each contains the means since the previous one.
        validate_every: steps between two validations; the last step always validates.
        validation_frames: largest number of validation frames, evenly spaced in the split; None for all.
        checkpoint_seconds: least time between two checkpoints, which a killed run may lose; it is
            longer if writing them would take more than 2 % of the time.
    """

    later_keys = ("lane_type_weight", "compile")

    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=16, ge=1)
    seed: int = Field(default=0, ge=0)
    shuffle_window: int | None = Field(default=None, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    background_weight: float = Field(default=0.4, gt=0)
    iou_weight: float = Field(default=0.1, ge=0)
    existence_weight: float = Field(default=0.1, ge=0)
    lane_type_weight: float = Field(default=0.1, ge=0)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    threads: int | None = Field(default=None, ge=1)
    precision: Precision = "auto"
    accumulation: int = Field(default=1, ge=1)
    compile: bool = False
    cuda_graphs: bool = False
    sync_batch_norm: bool = True
    loader_threads: int = Field(default=2, ge=1)
    log_every: int = Field(default=20, ge=1)
    validate_every: int = Field(default=200, ge=1)
    validation_frames: int | None = Field(default=1000, ge=1)
    checkpoint_seconds: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.optimizer.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.optimizer.warmup_steps} must be fewer than the {self.steps} steps"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by accumulation {self.accumulation}"
            )
        return self
