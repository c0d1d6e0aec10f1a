"""Registry of distillation losses: those of this package and those of users, by name or import path."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.config.import_path import import_object
from lgad_pipeline.distillation.base import DistillationLoss
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.controls import BlurredLabelsLoss, LabelHead
from lgad_pipeline.distillation.joint_teacher import JointLgadLoss
from lgad_pipeline.distillation.losses import CachedLgadLoss, LgadLoss, LogitsLoss, SadLoss
from lgad_pipeline.errors import LgadError

BUILT_IN: dict[str, type[DistillationLoss]] = {
    "lgad": LgadLoss,
    "lgad_cached": CachedLgadLoss,
    "lgad_joint": JointLgadLoss,
    "blurred_labels": BlurredLabelsLoss,
    "label_head": LabelHead,
    "sad": SadLoss,
    "logits": LogitsLoss,
}
"""Losses of this package by name. A new one is a class, and a line here."""

_registered: dict[str, type[DistillationLoss]] = {}


class RegisteredLoss(DistillationLoss):
    """Base of a user's distillation losses, which a recipe can name.

    Set the class attribute `needs_teacher` to True if the loss reads the trained teacher (`context.teacher`):
    studies then train one for a student with this loss alone.

    Args:
        context: networks that the loss may use.
        config: settings, an instance of `Config`.
    """

    def __init__(self, context: LossContext, config: Any) -> None:
        self.context, self.config = context, config

    @classmethod
    def from_context(cls, context: LossContext, config: Any) -> "RegisteredLoss":
        """Build the loss that a recipe names."""
        return cls(context, config)


def register_loss(name: str) -> Callable[[type[RegisteredLoss]], type[RegisteredLoss]]:
    """Register a class of distillation losses under a name that recipes can use.

    The name holds in processes that import the module of the class. lgad.yaml and the command line, whose
    processes do not, name a class by its import path, `package.module:Class`, without registration.

    Example:
        >>> @register_loss("logit_size")
        ... class LogitSize(RegisteredLoss):
        ...     def compute(self, forward):
        ...         return forward.logits.square().mean()

    Args:
        name: name in the mapping `losses` of a recipe, and of the loss term in the training history.

    Raises:
        LgadError: another class has that name.
    """

    def register(loss: type[RegisteredLoss]) -> type[RegisteredLoss]:
        known = BUILT_IN.get(name) or _registered.get(name, loss)
        if (known.__module__, known.__qualname__) != (loss.__module__, loss.__qualname__):
            raise LgadError(
                f"A loss {name!r} is registered already ({known.__module__}); choose another name."
            )
        _registered[name] = loss
        return loss

    return register


def loss_class(name: str) -> type[DistillationLoss]:
    """Return the class of a loss of this package, of a registered one, or of one with an import path.

    The module of an import path is imported, which runs its code: pass only names that the user wrote.

    Args:
        name: name in `BUILT_IN` or given to `register_loss`, or import path `package.module:Class`.

    Raises:
        LgadError: no loss has that name, or the class cannot be imported or is not a `RegisteredLoss`.
    """
    known = BUILT_IN.get(name) or _registered.get(name)
    if known is not None:
        return known
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise LgadError(
            f"Loss {name!r} does not exist; choose one of {', '.join([*BUILT_IN, *_registered])}, or give an "
            "import path such as mypackage.losses:MyLoss."
        )
    loss = import_object("Loss", name)
    if not (isinstance(loss, type) and issubclass(loss, DistillationLoss)):
        raise LgadError(f"Loss {name} is not a subclass of RegisteredLoss; correct the import path.")
    return loss


def import_path(name: str) -> str:
    """Return the import path `package.module:Class` of a loss, for a fingerprint of its source code."""
    loss = loss_class(name)
    return f"{loss.__module__}:{loss.__qualname__}"


def loss_settings(name: str, settings: Mapping[str, Any]) -> LossSchedule:
    """Validate the settings of a loss.

    Args:
        name: name in `BUILT_IN`, registered name or import path.
        settings: keys and values of the loss's `Config`.

    Raises:
        LgadError: the loss is unknown, or a setting is wrong.
    """
    try:
        return loss_class(name).Config.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")
        raise LgadError(f"{key}: {reason}; correct the settings of this loss.") from error


def build_loss(
    name: str, settings: LossSchedule | Mapping[str, Any], context: LossContext
) -> DistillationLoss:
    """Build a loss from its settings.

    Args:
        name: name in `BUILT_IN`, registered name or import path.
        settings: instance of the loss's `Config`, or its keys and values.
        context: networks that the loss may use.

    Raises:
        LgadError: the loss is unknown, lacks a network, or a setting is wrong.
    """
    config = settings if isinstance(settings, LossSchedule) else loss_settings(name, settings)
    return loss_class(name).from_context(context, config)
