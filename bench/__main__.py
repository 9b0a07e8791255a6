"""``python -m bench [NAME ...]``: runs the benchmarks and prints each figure as a ratio to its peer."""

from __future__ import annotations

import asyncio
import sys

from bench import crowd, first_answer, gateway, redelivery

BENCHMARKS = {
    "first-answer": first_answer.run,
    "crowd": crowd.run,
    "gateway": gateway.run,
    "redelivery": redelivery.run,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        asyncio.run(BENCHMARKS[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
