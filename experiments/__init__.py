"""What is asked of the testbed: experiments, their trials and the probes that measure them."""

from results.record.ownership import leave_no_bytecode

leave_no_bytecode()
