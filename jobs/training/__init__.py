"""Training proper, in a process of its own: the only package that imports torch, transformers and peft."""
