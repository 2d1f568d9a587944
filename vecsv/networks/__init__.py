"""Networks in PyTorch, written for this project, and their way to ONNX. Only imported where torch is needed."""
