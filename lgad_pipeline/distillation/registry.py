"""Registry of distillation losses that users add, by name or by import path."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import ValidationError
from torch import nn

from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.config.import_path import import_object
from lgad_pipeline.distillation.base import DistillationLoss
from lgad_pipeline.errors import LgadError

_LOSSES: dict[str, type["RegisteredLoss"]] = {}


class LossContext(NamedTuple):
    """Networks that a registered loss may use.

    Attributes:
        student: network in training, not compiled or wrapped yet.
        teacher: trained teacher of label maps, frozen; None if the student has no trained teacher.
    """

    student: nn.Module
    teacher: nn.Module | None = None


class RegisteredLoss(DistillationLoss):
    """Base of distillation losses that a recipe can name.

    Attributes:
        Config: pydantic model of the settings, a subclass of `LossSchedule`.

    Args:
        context: networks that the loss may use.
        config: settings, an instance of `Config`.
    """

    Config: ClassVar[type[LossSchedule]] = LossSchedule

    def __init__(self, context: LossContext, config: Any) -> None:
        self.config = config


def register_loss(name: str) -> Callable[[type[RegisteredLoss]], type[RegisteredLoss]]:
    """Register a class of distillation losses under a name that recipes can use.

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
        known = _LOSSES.get(name, loss)
        if (known.__module__, known.__qualname__) != (loss.__module__, loss.__qualname__):
            raise LgadError(
                f"A loss {name!r} is registered already ({known.__module__}); choose another name."
            )
        _LOSSES[name] = loss
        return loss

    return register


def loss_class(name: str) -> type[RegisteredLoss]:
    """Return a registered class, or import one by its import path.

    The module of an import path is imported, which runs its code: pass only names that the user wrote.

    Args:
        name: name given to `register_loss`, or import path `package.module:Class`.

    Raises:
        LgadError: no loss has that name, or the class cannot be imported or is not a `RegisteredLoss`.
    """
    if name in _LOSSES:
        return _LOSSES[name]
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise LgadError(
            f"Loss {name!r} is not registered; registered are: {', '.join(sorted(_LOSSES)) or 'none'}. "
            "Give an import path such as mypackage.losses:MyLoss."
        )
    loss = import_object("Loss", name)
    if not (isinstance(loss, type) and issubclass(loss, RegisteredLoss)):
        raise LgadError(f"Loss {name} is not a subclass of RegisteredLoss; correct the import path.")
    return loss


def import_path(name: str) -> str:
    """Return the import path `package.module:Class` of a loss, for a fingerprint of its source code."""
    loss = loss_class(name)
    return f"{loss.__module__}:{loss.__qualname__}"


def build_loss(name: str, settings: Mapping[str, Any], context: LossContext) -> RegisteredLoss:
    """Build a registered loss from the settings of a recipe.

    Args:
        name: registered name or import path.
        settings: keys and values of the loss's `Config`.
        context: networks that the loss may use.

    Raises:
        LgadError: the loss is unknown, or a setting is wrong.
    """
    loss = loss_class(name)
    try:
        config = loss.Config.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        raise LgadError(f"{key}: {first['msg']}; correct the settings of this loss.") from error
    return loss(context, config)
