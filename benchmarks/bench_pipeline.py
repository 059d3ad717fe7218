"""Measure: PYTHONPATH=. python benchmarks/bench_pipeline.py [options of ``mggtalk_core benchmark pipeline``]."""

import sys

from mggtalk_core.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", "pipeline", *sys.argv[1:]]))
