"""From a Hugging Face folder to the graph that the CPU engine runs; needs numpy and openvino, never torch."""
