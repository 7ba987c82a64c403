"""The VM image: a Debian with the kernel's openvswitch, netem and SCTP, built here and booted by QEMU."""
