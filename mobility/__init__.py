"""Moving a VM between NVEs: phases in order, the old NVE's policy, undo until the switch."""
