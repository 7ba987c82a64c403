"""Why a packet did not arrive exactly once and in order."""
