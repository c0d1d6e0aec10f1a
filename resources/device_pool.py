"""Limit of the pool `device`: the number of trainings that this machine runs at the same time."""

import os

import dagster as dg

from lgad_pipeline.settings import Settings

DEVICE = "device"
"""Pool of all steps that compute on the accelerator."""


def training_slots(settings: Settings) -> int:
    """Return the number of trainings that this machine runs at the same time.

    With GPUs it is the number of their slots. On a CPU it is as many as have the threads that the recipes
    give to a training; 1 if a recipe does not set them, because torch then uses all cores for each training.
    """
    from lgad_pipeline.training.device_lease import device_slots

    if settings.trainer.launcher != "in_process":
        return 1
    slots = device_slots(settings.trainer.device)
    if slots:
        return len(slots)
    threads = [
        config.threads for recipe in settings.recipes.values() for config in (recipe.teacher, recipe.student)
    ]
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // max((count or cores for count in threads), default=cores))


def widen_device_pool(instance: dg.DagsterInstance, settings: Settings) -> int:
    """Set the limit of the pool to `training_slots`, unless a limit is set already; return the limit.

    It is set once; later changes are made in the UI (Deployment, Concurrency).
    """
    storage = instance.event_log_storage
    for pool in storage.get_pool_limits():
        if pool.name == DEVICE and not pool.from_default:
            return pool.limit
    slots = training_slots(settings)
    storage.set_concurrency_slots(DEVICE, slots)
    return slots
