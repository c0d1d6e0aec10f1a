import os

# Networks this small train fastest on one thread, also where the cores are busy. Torch reads it when loaded.
os.environ["OMP_NUM_THREADS"] = "1"
