"""From a topology to running network namespaces: sandbox, underlay, NVEs, VMs and their attachment."""
