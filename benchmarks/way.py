"""What each way tells at its end: records that it has, seconds of processor time since its modules were there, and
megabytes at the peak."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable


def tell(main: Callable[..., int]) -> None:
    began = time.process_time()
    loaded = main(*sys.argv[1:])
    print(loaded, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
