"""Every shape that crosses a boundary: the wire, SQL, a training file, worker and trainer, the environment.

Imports pydantic and the standard library, nothing of ours, and does no I/O.
"""
