#!/bin/sh
# Join the Ray cluster at LGAD_RAY_HEAD as a node without processors, if that is set; then run the command. The launcher
# `ray` starts trainings from a node of the cluster.
set -e
if [ -n "$LGAD_RAY_HEAD" ]; then
  ray start --address="$LGAD_RAY_HEAD" --num-cpus=0 --object-store-memory="${LGAD_RAY_OBJECTS:-1000000000}"
fi
exec "$@"
