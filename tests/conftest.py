"""What holds for all tests."""

import signal

# A shell starts background jobs with SIGINT ignored, and that is inherited: Ctrl-C is tested here, so it must count.
signal.signal(signal.SIGINT, signal.default_int_handler)
