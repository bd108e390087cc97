"""Graders: what a model's answer is worth, by rules, by models or by a program."""
