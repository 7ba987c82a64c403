"""The network virtualization authority (NVA): who is where, and the flows that make it so.

The pure part is :mod:`mapping`, :mod:`config`, :mod:`pipeline`, :mod:`policies` and :mod:`flows`; the rest
is the rim: OpenFlow, the journal, the northbound socket. Programs outside import only :mod:`client`.
"""
