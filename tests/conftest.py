import os

from hypothesis import HealthCheck, settings

# Networks this small train fastest on one thread, also where the cores are busy. Torch reads it when loaded.
os.environ["OMP_NUM_THREADS"] = "1"

# How fast the machine is decides over no test.
settings.register_profile("lgad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lgad")
