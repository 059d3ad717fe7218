"""Measure: PYTHONPATH=. python benchmarks/bench_bini.py [options of ``python -m mggtalk_core benchmark bini``]."""

import sys

from mggtalk_core.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", "bini", *sys.argv[1:]]))
