"""Measure: PYTHONPATH=. python benchmarks/bench_render.py [options of ``python -m mggtalk_core benchmark render``]."""

import sys

from mggtalk_core.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", "render", *sys.argv[1:]]))
