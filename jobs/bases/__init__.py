"""The base models that the operator offers: which there are, whether each one is usable, and what is in it.

Reads files and knows no torch. `nano/` beside this file is `retune-nano` itself.
"""
