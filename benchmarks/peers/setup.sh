#!/usr/bin/env bash
# Install a peer into a virtual environment of its own: benchmarks/peers/setup.sh comseg boms
#
# The environments go to benchmarks/.peers/NAME, or to $TISSUEGRAPH_PEERS/NAME where that is set:
# the peers' dependencies conflict with ours and with each other's.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
place=${TISSUEGRAPH_PEERS:-$here/../.peers}
# BOMS compiles against Eigen and looks for its headers here.
export EIGEN3_INCLUDE_DIR=${EIGEN3_INCLUDE_DIR:-/usr/include/eigen3}

if [ $# -eq 0 ]; then
  echo "usage: $0 PEER...   peers: $(cd "$here" && echo *.txt | sed 's/\.txt//g')" >&2
  exit 2
fi

for peer in "$@"; do
  requirements=$here/$peer.txt
  if [ ! -f "$requirements" ]; then
    echo "no peer '$peer': $requirements does not exist" >&2
    exit 2
  fi
  if [ "$peer" = boms ] && [ ! -f "$EIGEN3_INCLUDE_DIR/Eigen/Core" ]; then
    echo "no Eigen headers in $EIGEN3_INCLUDE_DIR: install libeigen3-dev or set EIGEN3_INCLUDE_DIR" >&2
    exit 2
  fi
  "${PYTHON:-python3}" -m venv "$place/$peer"
  "$place/$peer/bin/python" -m pip install --quiet --requirement "$requirements"
done
