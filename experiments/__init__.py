"""What is asked of the testbed: experiments, their trials and the probes that measure them."""
