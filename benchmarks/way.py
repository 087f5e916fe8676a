"""What each way tells at its end: records loaded, seconds of processor time since its modules were there, megabytes at
the peak of its largest process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable


def tell(main: Callable[..., int]) -> None:
    began = _processor()
    loaded = main(*sys.argv[1:])
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(loaded, _processor() - began, max(usage.ru_maxrss for usage in both) / 1024)


def _processor() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
