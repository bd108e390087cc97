"""The model server. `serving.vllm` alone speaks its HTTP; `serving.engine` alone knows its command line."""
