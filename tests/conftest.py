"""For all tests: Ctrl-C works, even where they were started in the background by a shell that ignores it there."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
