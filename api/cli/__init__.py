"""The command line: `retune serve | demo | check | keys | doctor`."""
